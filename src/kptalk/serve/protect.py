"""What no request gets past: hosts and origins, sizes and slowness, and the headers of every answer."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kptalk.serve.api import NO_KEY, error_response, owner_of_key
from kptalk.serve.settings import Settings

# A page and its files come from here and nowhere else; videos are put together in the page, pictures may be in it.
CONTENT = "default-src 'self'; media-src 'self' blob:; img-src 'self' blob: data:"
CLOSED = ("/v1/", "/metrics")  # to who has no key, where there are keys; a WebSocket looks for itself
FIXED = "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
PATIENCE = 10  # times ``Settings.idle_seconds`` that a whole body may take
CLOSE = {"Connection": "close"}  # what else comes of the request is not read
HEADERS = {
    "content-security-policy": f"{CONTENT}; {FIXED}",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(self)",
}


class Protection:
    """Middleware around the whole application, for HTTP and WebSocket."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings, self._uploads = app, settings, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if (refusal := self._refusal(scope, headers)) is not None:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await error_response(*refusal)(scope, receive, _with_headers(send))
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        own = _with_headers(send)
        uploads = scope["method"] in ("POST", "PUT", "PATCH")
        if uploads and self._uploads >= self._settings.uploads:
            busy = error_response(503, "busy", "too many uploads at once: try again", {"Retry-After": "5"} | CLOSE)
            await busy(scope, receive, own)
            return
        self._uploads += uploads
        body = _Body(receive, self._settings, self._uploaded if uploads else _nothing)
        try:
            await self._app(scope, body.receive, own)
        finally:
            body.complete()

    def _uploaded(self) -> None:
        self._uploads -= 1

    def _refusal(self, scope: Scope, headers: dict[bytes, str]) -> tuple[Any, ...] | None:
        """What is answered instead; without a key nothing of a body is read."""
        settings, host, origin = self._settings, headers.get(b"host", "").lower(), headers.get(b"origin")
        if "*" not in settings.hosts and _name(host) not in settings.hosts:
            return 400, "unknown_host", "the server is not known by this name"
        if origin is not None and re.sub("^https?://", "", origin.lower()) != host:
            return 403, "other_origin", "pages of other sites may not use this server"
        closed = scope["type"] == "http" and scope["path"].startswith(CLOSED)
        if closed and settings.keys and owner_of_key(headers.get(b"authorization", ""), settings.keys) is None:
            return NO_KEY
        length = headers.get(b"content-length", "")
        if length.isdecimal() and int(length[:20]) > self._settings.body_bytes:
            return 413, "too_large", _too_large(self._settings)
        return None


class _Body:
    """A request's body, until it is too long or comes too slowly: then receiving raises what is answered."""

    def __init__(self, receive: Receive, settings: Settings, on_complete: Callable[[], None]) -> None:
        self._receive, self._settings, self._on_complete = receive, settings, on_complete
        self._taken, self._complete = 0, False
        self._until = time.monotonic() + PATIENCE * settings.idle_seconds

    async def receive(self) -> Message:
        if self._complete:  # what comes now is that the client leaves, whenever that is
            return await self._receive()
        left = self._until - time.monotonic()
        try:
            async with asyncio.timeout(min(left, self._settings.idle_seconds)):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the request did not come to its end", CLOSE) from None
        self._taken += len(message.get("body", b""))
        if self._taken > self._settings.body_bytes:
            raise HTTPException(413, _too_large(self._settings), CLOSE)
        if not message.get("more_body", False):
            self.complete()
        return message

    def complete(self) -> None:
        """It is all there, or no more of it is wanted."""
        if not self._complete:
            self._complete = True
            self._on_complete()


def _nothing() -> None:
    pass


def _too_large(settings: Settings) -> str:
    return f"the request is larger than {settings.body_bytes >> 20} MB"


def _name(host: str) -> str:
    """A host without its port."""
    return host[: host.rindex(":")] if host.rpartition(":")[2].isdecimal() and ":" in host else host


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name for name, _ in message["headers"]}
            own = ((name.encode(), value.encode()) for name, value in HEADERS.items())
            message["headers"] = [*message["headers"], *(pair for pair in own if pair[0] not in given)]
        await send(message)

    return sending
