"""/v1/live, a WebSocket: a microphone's sound up, a talking face down.

The client's first message is JSON, ``{"portrait_id": ..., "face": ..., "options": {...}, "key": ...}``; then it sends
sound as binary messages, 16-bit little-endian mono at 16 kHz, and at the end ``{"type": "stop"}``. The server answers
with ``{"type": "started", "delay", "lead", "size"}``, ``{"type": "video", "mime"}``, the growing MP4 in binary messages
and ``{"type": "ended"}`` or ``{"type": "error", "error": {"code", "message"}}``.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from kptalk.errors import OptionError
from kptalk.options import Options
from kptalk.serve.api import EVERYBODY, NO_KEY, ApiError, Server, owner_of_key
from kptalk.serve.follow import HEAD, end, stream_type
from kptalk.serve.forms import NAMES
from kptalk.serve.live_messages import STOP, Ended, Start, Started
from kptalk.serve.live_sessions import Busy, LiveProcess
from kptalk.serve.settings import PORTRAIT

router = APIRouter()
LARGEST_HELLO, LARGEST_CHUNK = 20_000, 64_000  # characters, bytes
SIZE, LARGEST_SIZE = 512, 1024  # pixels of the longer side: as usual, and at most
UNSENT = 8 << 20  # bytes of video that may wait for a slow client
CLOSED = {"busy": 1013, "internal_error": 1011, "cancelled": 1001}  # codes of the protocol; any other error is 1008


@router.websocket("/v1/live")
async def live(socket: WebSocket) -> None:
    """See the head of this file."""
    server: Server = socket.app.state.server
    await socket.accept()
    try:
        start = await _hello(socket, server)
        async with server.live.one() as process:
            process.send(start)
            listening = asyncio.create_task(_listen(socket, process, server.settings.idle_seconds))
            answering = asyncio.create_task(_answer(socket, process, server.settings.idle_seconds))
            try:
                done, _ = await asyncio.wait((listening, answering), return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                await answering
            finally:
                await end(listening, answering)
        await socket.close()
    except Busy as error:
        await _refuse(socket, ApiError(503, "busy", str(error)))
    except ApiError as error:
        await _refuse(socket, error)
    except (WebSocketDisconnect, OSError, RuntimeError, TimeoutError):
        with suppress(RuntimeError, OSError):
            await socket.close(1008)


async def _hello(socket: WebSocket, server: Server) -> Start:
    """What the client wants; raises ApiError where it cannot have it."""
    try:
        async with asyncio.timeout(server.settings.idle_seconds):
            text = await socket.receive_text()
        given = json.loads(text) if len(text) <= LARGEST_HELLO else None
    except (ValueError, KeyError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise ApiError(422, "invalid_request", "the first message is JSON: portrait_id, face, options, key")
    keys, owner = server.settings.keys, EVERYBODY
    if keys:
        header = socket.headers.get("authorization") or f"Bearer {given.get('key')}"
        if (known := owner_of_key(header, keys)) is None:
            raise ApiError(*NO_KEY)
        owner = known
    found = server.store.portrait(str(given.get("portrait_id", ""))[:64], owner)
    path = server.settings.portraits / (found.id if found else "") / PORTRAIT
    if found is None or not path.is_file():
        raise ApiError(404, "not_found", "there is no such portrait")
    face = given.get("face")
    if face is not None and (isinstance(face, bool) or not isinstance(face, int) or not 1 <= face <= 1000):
        raise ApiError(422, "invalid_request", "face is a whole number, 1 is the leftmost")
    return Start(path, found.digest, face, _options(given.get("options")).to_dict())


def _options(given: object) -> Options:
    """Options that a client may have; raises ApiError where one is none of these."""
    values = {} if given is None else given
    if not isinstance(values, dict) or not NAMES.issuperset(values):
        raise ApiError(422, "invalid_option", "options is an object with the fields of POST /v1/videos")
    try:
        options = Options.from_dict({"size": SIZE} | {name: each for name, each in values.items() if each is not None})
    except OptionError as error:
        raise ApiError(422, "invalid_option", str(error)) from None
    if options.control.pose_file or options.control.style_file:
        raise ApiError(422, "invalid_option", "pose and style are words here, no files")
    if (options.size or 0) > LARGEST_SIZE:
        raise ApiError(422, "invalid_option", f"size is {options.size}: live video has at most {LARGEST_SIZE}")
    return options


async def _listen(socket: WebSocket, process: LiveProcess, patience: float) -> None:
    """Pass the client's sound on, until it stops; raises WebSocketDisconnect where it leaves."""
    while True:
        async with asyncio.timeout(patience):
            message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        if (sound := message.get("bytes")) is not None:
            if len(sound) > LARGEST_CHUNK or len(sound) % 2:
                raise ApiError(422, "invalid_request", f"sound is 16-bit, at most {LARGEST_CHUNK} bytes a message")
            process.send(sound)
        elif len(text := message.get("text") or "") < LARGEST_HELLO and '"stop"' in text:
            process.send(STOP)
            return
        else:
            raise ApiError(422, "invalid_request", 'after the first message only sound and {"type": "stop"} are read')


async def _answer(socket: WebSocket, process: LiveProcess, patience: float) -> None:
    """Pass the video on until it ends; raises ApiError where it fails."""
    head: bytes | None = b""
    while True:
        message = await process.receive()
        if isinstance(message, Started):
            size = f"{message.size[0]}x{message.size[1]}"
            times = {"delay": round(message.delay, 3), "lead": message.lead}
            await socket.send_json({"type": "started", "size": size} | times)
        elif isinstance(message, bytes):
            if process.unsent > UNSENT:
                raise ApiError(408, "too_slow", "the video is not taken as fast as it is made")
            if head is not None:
                head, message = head + message, b""
                if HEAD in head:
                    await socket.send_json({"type": "video", "mime": stream_type(head)})
                    head, message = None, head
            if message:
                async with asyncio.timeout(patience):
                    await socket.send_bytes(message)
        elif isinstance(message, Ended):
            if message.code is not None:
                raise ApiError(422, message.code, message.message)
            await socket.send_json({"type": "ended"})
            return


async def _refuse(socket: WebSocket, error: ApiError) -> None:
    with suppress(RuntimeError, OSError, WebSocketDisconnect):
        if socket.client_state == WebSocketState.CONNECTED:
            await socket.send_json({"type": "error", "error": {"code": error.code, "message": error.message}})
            await socket.close(CLOSED.get(error.code, 1008))
