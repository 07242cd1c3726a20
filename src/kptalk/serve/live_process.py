"""The process of one live voice: sound in, growing video out, one session after the other."""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from kptalk.device import release_memory
from kptalk.errors import Cancelled, KptalkError
from kptalk.face.portraits import Portraits
from kptalk.methods.trial import plain_portrait
from kptalk.options import Options
from kptalk.pipeline import Pipeline
from kptalk.serve.confine import allow_seconds, confine
from kptalk.serve.live_messages import CANCEL, READY, STOP, Ended, Start, Started
from kptalk.serve.settings import Settings
from kptalk.types import SAMPLE_RATE, Array

BYTES_PER_SECOND = 2 * SAMPLE_RATE  # of 16-bit mono sound
BACKLOG = 4.0  # seconds of sound that may wait before the machine is too slow, or the client too fast
logger = logging.getLogger(__name__)


class _TooSlow(Exception):
    """More sound waits than is worked on."""


class _Inbox:
    """What the server sends, taken in by a thread of its own, so that the server never waits."""

    def __init__(self, server: Connection) -> None:
        self._server, self._waiting = server, queue.Queue[Any]()
        self.sound = 0  # bytes that wait
        threading.Thread(target=self._read, name="kptalk-live-inbox", daemon=True).start()

    def get(self) -> Any:
        message = self._waiting.get()
        if isinstance(message, bytes):
            self.sound -= len(message)
        return message

    def _read(self) -> None:
        message: Any = b""
        while message is not None:
            try:
                message = self._server.recv()
            except (EOFError, OSError):
                message = None
            if isinstance(message, bytes):
                self.sound += len(message)
            self._waiting.put(message)


class _Outbox:
    """A file whose bytes go to the server."""

    def __init__(self, server: Connection) -> None:
        self._server = server

    def write(self, data: bytes, /) -> None:
        self._server.send(bytes(data))


def main(settings: Settings, server: Connection, load: Callable[[Settings], Pipeline]) -> None:
    """What the process does."""
    from PIL import Image

    logging.basicConfig(level=logging.WARNING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the server says when to stop
    Image.MAX_IMAGE_PIXELS = settings.portrait_pixels
    inbox, portraits = _Inbox(server), Portraits()
    pipeline = load(settings)
    pipeline.live(plain_portrait(), framing="crop", size=64).save([np.zeros(SAMPLE_RATE // 5, np.int16)], _Nowhere())
    confine(settings.memory_bytes, settings.live_seconds)
    server.send(READY)
    while (message := inbox.get()) is not None:
        if isinstance(message, Start):  # all else belongs to a session that has ended
            allow_seconds(settings.live_seconds + settings.stall_seconds)
            server.send(_session(message, pipeline, portraits, settings, inbox, server))
            release_memory()
    os._exit(0)  # no thread of a library may hold the end


class _Nowhere:
    def write(self, data: bytes, /) -> None: ...


def _session(
    start: Start, pipeline: Pipeline, portraits: Portraits, settings: Settings, inbox: _Inbox, server: Connection
) -> Ended:
    try:
        options = Options.from_dict(start.options)
        portrait = portraits.find(start.portrait, start.digest, start.face, options.rotate)
        animation = pipeline.live(portrait, options=options)
        server.send(Started(animation.size, animation.delay, float(animation.lead / animation.fps)))
        animation.save(_sound(inbox, settings.live_seconds), _Outbox(server))
        return Ended()
    except Cancelled:
        return Ended("cancelled", "the session was cancelled")
    except _TooSlow as error:
        return Ended("too_slow", str(error))
    except KptalkError as error:
        return Ended("invalid_request", str(error).replace(str(start.portrait), "the photo"))
    except Exception:
        logger.exception("a live session failed")
        return Ended("internal_error", "internal error")


def _sound(inbox: _Inbox, seconds: float) -> Iterator[Array]:
    """The sound of a session as it comes, at most so many seconds of it."""
    left = round(seconds * BYTES_PER_SECOND)
    while left > 0:
        message = inbox.get()
        if message in (None, CANCEL):
            raise Cancelled("the client has gone")
        if message == STOP:
            return
        if isinstance(message, bytes):
            if inbox.sound > BACKLOG * BYTES_PER_SECOND:
                raise _TooSlow(f"{BACKLOG:g} s of sound wait: give a smaller size, or send it as it is spoken")
            left -= len(message)
            yield np.frombuffer(message, "<i2")
