"""What all endpoints share: the running server's parts, who asks, and errors as JSON."""

from __future__ import annotations

import errno
import hmac
import logging
import sqlite3
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from kptalk.errors import OptionError
from kptalk.serve.live_sessions import LiveSessions
from kptalk.serve.settings import Settings
from kptalk.serve.store import Store
from kptalk.serve.supervisor import Workers

EVERYBODY = ""  # the owner of all jobs where there are no keys
CODES = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed"}
CODES |= {408: "too_slow", 413: "too_large"}
FULL = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL = 507, "disk_full", "the server's disk is full: try again later", {"Retry-After": "600"}
NO_KEY = 401, "unauthorized", "give a valid key: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"}
logger = logging.getLogger(__name__)


@dataclass
class Server:
    """The parts of a running server; endpoints get it as ``ServerPart``.

    Attributes:
        settings, store, workers: see there.
        viewers: streams that are open.
        stopping: whether it is about to end, so that what goes on and on ends now.
    """

    settings: Settings
    store: Store
    workers: Workers
    live: LiveSessions
    viewers: int = 0
    stopping: bool = False


class ApiError(Exception):
    """What is answered instead of a result: a status, a code for programs and a message for people."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers


def error_response(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as all endpoints answer it."""
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def server_of(connection: HTTPConnection) -> Server:
    """The running server, in endpoints of HTTP and WebSocket."""
    server: Server = connection.app.state.server
    return server


def owner_of(connection: HTTPConnection) -> str:
    """Whose videos a client may see.

    Raises:
        ApiError: it has no key, or a wrong one.
    """
    keys = server_of(connection).settings.keys
    if not keys:
        return EVERYBODY
    if (owner := owner_of_key(connection.headers.get("authorization", ""), keys)) is None:
        raise ApiError(*NO_KEY)
    return owner


def owner_of_key(authorization: str, keys: tuple[str, ...]) -> str | None:
    """Whose key a header ``Bearer KEY`` has; None if nobody's. Takes as long for a wrong key as for a right one."""
    scheme, _, given = authorization.partition(" ")
    found, given = None, given.strip() if scheme.lower() == "bearer" else ""
    for key in keys:
        if hmac.compare_digest(given.encode(), key.encode()):
            found = sha256(key.encode()).hexdigest()[:32]
    return found


ServerPart = Annotated[Server, Depends(server_of)]
Owner = Annotated[str, Depends(owner_of)]


def answer_errors(app: FastAPI) -> None:
    """Let every error of an app be answered as ``{"error": {"code", "message"}}``."""

    @app.exception_handler(ApiError)
    async def _api(_: Request, error: ApiError) -> JSONResponse:
        return error_response(error.status, error.code, error.message, error.headers)

    @app.exception_handler(OptionError)
    async def _option(_: Request, error: OptionError) -> JSONResponse:
        return error_response(422, "invalid_option", str(error))

    @app.exception_handler(RequestValidationError)
    async def _request(_: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(422, "invalid_request", "; ".join(_told(each) for each in error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        code = CODES.get(error.status_code, "error")
        return error_response(error.status_code, code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(OSError)
    @app.exception_handler(sqlite3.OperationalError)
    async def _disk(_: Request, error: Exception) -> JSONResponse:
        logger.warning("a request failed", exc_info=error)
        full = getattr(error, "errno", None) in FULL or "full" in str(error)
        return error_response(*DISK_FULL) if full else error_response(500, "internal_error", "internal error")

    @app.exception_handler(Exception)
    async def _any(_: Request, error: Exception) -> JSONResponse:
        return error_response(500, "internal_error", "internal error")


def _told(error: dict[str, Any]) -> str:
    where = [str(part) for part in error["loc"][1:]] or [str(error["loc"][0])]
    return f"{'.'.join(where)}: {error['msg']}"
