"""Answers that grow: the video's file as the worker writes it, and the news of a job."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kptalk.serve.api import ApiError, Server, error_response
from kptalk.serve.settings import STREAM
from kptalk.serve.store import ACTIVE, Job

BLOCK = 1 << 16  # bytes
FILE_LOOK, STORE_LOOK, NEWS_LOOK = 0.02, 0.1, 0.2  # seconds between looks
HEAD = b"avcC"  # the box of an MP4 that says which H.264 is in it
QUIET = 15.0  # seconds without news after which a comment keeps the connection open
LIVE = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Interrupted(ApiError):
    """What was followed ended before it was complete."""


class GrowingResponse(Response):
    """A response whose bytes come as they come; it begins with the first of them, whose type ``type_of`` tells.

    Ends when the client leaves, or takes none for too long.
    """

    def __init__(
        self,
        server: Server,
        content: AsyncGenerator[bytes],
        type_of: Callable[[bytes], str],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(None, 200, LIVE | dict(headers or {}))
        del self.headers["content-length"]
        self._server, self._content, self._type_of = server, content, type_of
        if server.viewers >= server.settings.viewers:
            raise ApiError(503, "too_many_viewers", "too many streams are open", {"Retry-After": "10"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._server.viewers += 1
        working = [asyncio.create_task(self._send(scope, receive, send)), asyncio.create_task(_left(receive))]
        try:
            done, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with suppress(Interrupted, TimeoutError, OSError):  # the connection is closed without its end
                    task.result()
        finally:
            self._server.viewers -= 1
            await end(*working)

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        patience = self._server.settings.idle_seconds
        async with aclosing(self._content) as blocks:
            try:
                block = await anext(blocks)
            except Interrupted as error:
                await error_response(error.status, error.code, error.message)(scope, receive, send)
                return
            self.headers["content-type"] = self._type_of(block)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": block, "more_body": True})
            async for block in blocks:
                message = {"type": "http.response.body", "body": block, "more_body": True}
                async with asyncio.timeout(patience):  # wait_for may swallow that the client has left
                    await send(message)
                await asyncio.sleep(0)  # a file that is there already comes without a pause
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks, and wait until they have ended, however that was.

    Not by ``asyncio.gather``: when it is cancelled itself, the error no longer says by whom.
    """
    for task in tasks:
        task.cancel()
    for task in (await asyncio.wait(tasks))[0]:
        task.cancelled() or task.exception()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def growing_file(server: Server, job_id: str, cancel: bool = False) -> AsyncGenerator[bytes]:
    """The bytes of a job's video from its first to its last, each as soon as it is there; first its whole head.

    Args:
        server: where the job is.
        job_id: of which job.
        cancel: whether the job ends with who leaves.

    Raises:
        Interrupted: the job failed or was cancelled.
    """
    path, store, complete = server.settings.jobs / job_id / STREAM, server.store, False
    store.viewed(job_id, 1)
    server.workers.wake()
    descriptor, offset = None, 0
    try:
        job, looked = store.get(job_id), time.monotonic()
        while True:
            if descriptor is None:
                with suppress(OSError):
                    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            if descriptor is not None and (block := _read(descriptor, offset)) and (offset or HEAD in block):
                if not offset:
                    store.viewed(job_id, 0, first_bytes=True)
                offset += len(block)
                yield block
                continue
            if job is None or job.status not in ACTIVE or server.stopping:
                break
            await asyncio.sleep(FILE_LOOK)
            if time.monotonic() - looked > STORE_LOOK:
                job, looked = store.get(job_id), time.monotonic()
        complete = job is not None and job.status == "completed"
        if not complete:
            raise interrupted(job)
    finally:
        store.viewed(job_id, -1)
        if descriptor is not None:
            os.close(descriptor)
        if cancel and not complete and not server.stopping:
            store.cancel(job_id)


def _read(descriptor: int, offset: int) -> bytes:
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, BLOCK)


def interrupted(job: Job | None) -> Interrupted:
    """Why there is no more of a video."""
    if job is not None and job.status == "failed":
        return Interrupted(422, job.code or "failed", job.message or "the video could not be made")
    status = "cancelled" if job is None else job.status
    if status in ACTIVE:
        return Interrupted(503, "stopping", "the server ends; the video is made at its next start")
    return Interrupted(410, status, f"the video is {status}")


def stream_type(head: bytes) -> str:
    """The type of a video with its codecs, by its head: H.264 of some profile and level, and AAC."""
    profile = head[head.index(HEAD) + 5 :][:3]
    return f'video/mp4; codecs="avc1.{profile.hex()}, mp4a.40.2"'


async def news(server: Server, job: Job, shown: Callable[[Job], dict[str, Any]]) -> AsyncGenerator[bytes]:
    """Server-sent events: the video object as ``shown`` whenever it changes, named by its status, until it is final."""
    last, said = None, time.monotonic()
    found: Job | None = job
    while found is not None:
        now = shown(found)
        if now != last:
            yield f"event: {found.status}\ndata: {json.dumps(now)}\n\n".encode()
            last, said = now, time.monotonic()
        elif time.monotonic() - said > QUIET:
            yield b": still here\n\n"
            said = time.monotonic()
        if found.status not in ACTIVE or server.stopping:
            return
        await asyncio.sleep(NEWS_LOOK)
        found = server.store.get(job.id)
