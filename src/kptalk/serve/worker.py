"""The process that makes the videos: it takes turns between the jobs of the store, until the server is gone.

A file of a stranger that crashes a decoder ends this process, not the server, which starts another.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from shutil import rmtree

from kptalk.errors import KptalkError, OutputError
from kptalk.face.portraits import Portraits
from kptalk.files import lock_file
from kptalk.methods.trial import hum, plain_portrait
from kptalk.pipeline import Pipeline
from kptalk.serve import turns
from kptalk.serve.render import Start, find, render
from kptalk.serve.settings import PORTRAIT, READY, SPEECH, STREAM, Settings
from kptalk.serve.store import Job, Store

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
        Worker(settings, Store(settings.folder / "jobs.sqlite"), pipeline, server).run()


@dataclass
class _Open:
    """A job that is being made."""

    steps: Generator[Start | int, None, None]
    began: float
    spent: float = 0.0
    frames: int = 0
    start: Start | None = None


class Worker:
    """Makes the videos of a store."""

    def __init__(self, settings: Settings, store: Store, pipeline: Pipeline, server: Connection) -> None:
        """``server`` gets ``READY``, then what is worked on; what it sends wakes the worker, and its end ends it."""
        self._settings, self._store, self._pipeline, self._server = settings, store, pipeline, server
        self._portraits = Portraits()
        self._open: dict[str, _Open] = {}
        self._last: dict[str, float] = {}

    def run(self) -> None:
        """Work until the server is gone."""
        try:
            self._server.send(READY)
            busy = True
            while not _told_to_stop(self._server, 0 if busy else IDLE):
                self._server.send("")  # a sign of life
                busy = self.turn()
        except (BrokenPipeError, ConnectionResetError) as error:
            logger.info("the server is gone: %s", error)
        finally:
            for job in list(self._open):
                self._close(job)

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
            steps = render(job, self._settings.jobs / job.id, self._pipeline, self._portraits, self._settings)
            now = time.time()
            self._open[job.id], self._last[job.id] = _Open(steps, now), 0.0
            self._store.update(job.id, status="in_progress", started=now)
        at_work = [job for job in jobs if job.id in self._open]
        if not at_work:
            return False
        job = turns.next_turn(at_work, self._last, time.time())
        self._server.send(job.id)
        self._step(job, self._open[job.id])
        return True

    def _step(self, job: Job, work: _Open) -> None:
        began = time.monotonic()
        try:
            done = next(work.steps, None)
        except KptalkError as error:
            self._fail(job.id, _code(error), self._without_paths(job.id, str(error)))
            return
        except Exception:
            logger.exception("%s failed", job.id)
            self._fail(job.id, "internal_error", "the video could not be made")
            return
        work.spent += time.monotonic() - began
        now = self._last[job.id] = time.time()
        if isinstance(done, Start):
            work.start = done
            size = f"{done.size[0]}x{done.size[1]}"
            self._store.update(job.id, size=size, fps=float(done.fps), expected=done.expected, spent=work.spent)
        elif done is not None:
            self._advance(job, work, done, now)
        else:
            self._store.update(job.id, progress=100, spent=work.spent, seconds=work.frames / (job.fps or 25.0))
            if self._store.finish(job.id, self._settings.keep):
                self._store.add_total("frames", work.frames)
                self._store.add_total("work_seconds", work.spent)
            self._close(job.id)
        if work.spent > self._settings.job_seconds:
            self._fail(job.id, "timeout", f"the video took more than {self._settings.job_seconds:g} s of work")

    def _advance(self, job: Job, work: _Open, frames: int, now: float) -> None:
        work.frames = frames
        progress = min(99, int(99 * frames / max(1, job.expected or 1)))
        self._store.update(job.id, frames=frames, progress=progress, spent=work.spent)
        if job.first_fragment is None and _size(self._settings.jobs / job.id / STREAM):
            self._store.update(job.id, first_fragment=now - work.began)
            self._store.add_total("first_fragments", 1)
            self._store.add_total("first_fragment_seconds", now - work.began)

    def _look(self, portrait: str) -> None:
        request = self._store.portrait(portrait)
        if request is None:
            return
        try:
            self._store.answer_portrait(
                portrait, find(request, self._settings.portraits / portrait / PORTRAIT, self._portraits)
            )
        except KptalkError as error:
            self._store.answer_portrait(portrait, code=_code(error), message=str(error))
        except FileNotFoundError:
            self._store.answer_portrait(portrait, code="not_found", message="the photo is gone")
        except Exception:
            logger.exception("%s failed", portrait)
            self._store.answer_portrait(portrait, code="internal_error", message="the photo could not be read")

    def _fail(self, job: str, code: str, message: str) -> None:
        self._store.finish(job, self._settings.keep, code, message)
        self._close(job)

    def _close(self, job: str) -> None:
        work = self._open.pop(job, None)
        self._last.pop(job, None)
        if work is not None:
            with suppress(KptalkError, OSError):
                work.steps.close()

    def _without_paths(self, job: str, text: str) -> str:
        """A message without the names of the server's files."""
        folder = self._settings.jobs / job
        text = text.replace(str(folder / PORTRAIT), "the portrait").replace(str(folder / SPEECH), "the speech")
        return "the video could not be written" if str(self._settings.folder) in text else text


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


def _size(path: Path) -> int:
    """Of a file; 0 where it is no more, since the job was cancelled meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _code(error: KptalkError) -> str:
    """``FaceNotFound`` as ``face_not_found``."""
    name = "StorageError" if isinstance(error, OutputError) else type(error).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
