"""The process that makes the videos: it takes turns between the jobs of the store, until the server is gone.

A file of a stranger that crashes a decoder ends this process, not the server, which starts another.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from shutil import rmtree
from typing import Any

from kptalk.face.portraits import Portraits
from kptalk.files import lock_file
from kptalk.methods.trial import hum, plain_portrait
from kptalk.pipeline import Pipeline
from kptalk.serve import turns
from kptalk.serve.confine import allow_seconds, confine
from kptalk.serve.making import Maker, Start
from kptalk.serve.render import find, render
from kptalk.serve.settings import READY, Settings
from kptalk.serve.store import Job, PortraitRequest, Store

IDLE = 0.25  # seconds between looks at the store, where nothing wakes the worker earlier
NICENESS = 5  # the server answers while videos are made
Load = Callable[[Settings], Pipeline]
logger = logging.getLogger(__name__)


def load(settings: Settings) -> Pipeline:
    """The pipeline of the settings' model, with all that the first video would wait for."""
    from kptalk.device import set_threads
    from kptalk.media.stream import StreamSink

    set_threads()
    pipeline = Pipeline.from_pretrained(settings.model, settings.device)
    pipeline.warm_up()
    deque(pipeline.animate(plain_portrait(), hum(0.2)).encode(StreamSink(io.BytesIO(), low_delay=True)), maxlen=0)
    return pipeline


def main(settings: Settings, server: Connection, load: Load) -> None:
    """What the process does."""
    from PIL import Image

    logging.basicConfig(level=logging.WARNING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both; the server says when to stop
    with suppress(AttributeError, OSError):
        os.nice(NICENESS)
    Image.MAX_IMAGE_PIXELS = settings.portrait_pixels
    pipeline = load(settings)
    confine(settings.memory_bytes, settings.speech_seconds)
    while True:
        try:
            lock = lock_file(settings.folder / "worker.lock")
            break
        except BlockingIOError:  # the worker of a server that was killed is about to notice it
            if _told_to_stop(server, IDLE):
                return
    with lock:
        lock.truncate(0)
        lock.write(str(os.getpid()).encode())  # for who looks after the machine
        fence = partial(allow_seconds, settings.stall_seconds)
        Worker(settings, Store(settings.folder / "jobs.sqlite"), pipeline, server, fence).run()


class Worker(Maker):
    """Makes the videos of a store in this process, and takes turns between them."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        pipeline: Pipeline,
        server: Connection,
        before_turn: Callable[[], None] = lambda: None,
    ) -> None:
        """``server`` gets ``READY``, then what is worked on; what it sends wakes the worker, and its end ends it."""
        super().__init__(settings, store)
        self._pipeline, self._server, self._portraits = pipeline, server, Portraits()
        self._before_turn = before_turn

    def run(self) -> None:
        """Work until the server is gone."""
        try:
            self._server.send(READY)
            busy = True
            while not _told_to_stop(self._server, 0 if busy else IDLE):
                self._server.send("")  # a sign of life
                self._before_turn()
                busy = self._turn_or_wait()
        except (BrokenPipeError, ConnectionResetError) as error:
            logger.info("the server is gone: %s", error)
        finally:
            for job in list(self._open):
                self._close(job)

    def _turn_or_wait(self) -> bool:
        """``turn``; where the disk has no room for the store all jobs begin anew, when they next can."""
        try:
            return self.turn()
        except sqlite3.OperationalError as error:
            logger.warning("the jobs cannot be kept: %s", error)
            for job in list(self._open):
                self._close(job)
            return False

    def turn(self) -> bool:
        """Do one piece of work; whether there was any."""
        if (request := self._store.next_portrait()) is not None:
            self._server.send(request.id)
            self._look(request.id)
            return True
        jobs = self._store.unfinished()
        for gone in self._open.keys() - {job.id for job in jobs}:
            self._close(gone)
            rmtree(self._settings.jobs / gone, ignore_errors=True)  # what was written after the server removed it
        if (job := turns.to_open(jobs, self._open.keys(), self._settings.streams)) is not None:
            self._begin(job)
        at_work = [job for job in jobs if job.id in self._open]
        if not at_work:
            return False
        job = turns.next_turn(at_work, self._last, time.monotonic())
        self._server.send(job.id)
        self._step(job, self._open[job.id])
        return True

    def _steps(self, job: Job) -> Generator[Start | int, None, None]:
        return render(job, self._settings.jobs / job.id, self._pipeline, self._portraits, self._settings)

    def _faces(self, request: PortraitRequest, path: Path) -> dict[str, Any]:
        return find(request, path, self._portraits)


def _told_to_stop(server: Connection, wait: float) -> bool:
    """Whether the server said so, or is gone; what else it says ends the waiting, and that is all."""
    try:
        if server.poll(wait):
            while server.poll():
                if server.recv() == "stop":
                    return True
    except (EOFError, OSError):
        return True
    return False
