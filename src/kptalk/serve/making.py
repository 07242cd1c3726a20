"""Jobs in the making, as the store knows them: how far they are, and what becomes of their errors."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from kptalk.device import release_memory
from kptalk.errors import KptalkError, OutputError, WorkerDied
from kptalk.serve.settings import PORTRAIT, SPEECH, STREAM, Settings
from kptalk.serve.store import Job, PortraitRequest, Store

logger = logging.getLogger(__name__)


class Start(NamedTuple):
    """What is known of a video before its first frame."""

    size: tuple[int, int]
    fps: Fraction
    expected: int | None


@dataclass
class _Open:
    """A job that is being made."""

    steps: Generator[Start | int, None, None]
    began: float
    spent: float = 0.0
    frames: int = 0
    start: Start | None = None


class Maker(ABC):
    """Makes the videos of a store, some at a time."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._open: dict[str, _Open] = {}
        self._last: dict[str, float] = {}

    @abstractmethod
    def _steps(self, job: Job) -> Generator[Start | int, None, None]:
        """Make a job's video; gives its ``Start``, then after every few frames how many are encoded."""

    @abstractmethod
    def _faces(self, request: PortraitRequest, path: Path) -> dict[str, Any]:
        """What /v1/portraits answers."""

    def _begin(self, job: Job) -> None:
        self._open[job.id], self._last[job.id] = _Open(self._steps(job), time.monotonic()), 0.0
        self._store.update(job.id, status="in_progress", started=time.time())

    def _step(self, job: Job, work: _Open) -> None:
        began = time.monotonic()
        try:
            done = next(work.steps, None)
        except KptalkError as error:
            self._fail(job.id, _code(error), self._without_paths(job.id, str(error)))
            return
        except MemoryError:
            self._fail(job.id, "out_of_memory", "the video needs more memory than it may take here")
            return
        except Exception:
            logger.exception("%s failed", job.id)
            self._fail(job.id, "internal_error", "the video could not be made")
            return
        work.spent += time.monotonic() - began
        now = self._last[job.id] = time.monotonic()
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
            self._store.answer_portrait(portrait, self._faces(request, self._settings.portraits / portrait / PORTRAIT))
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
            release_memory()

    def _without_paths(self, job: str, text: str) -> str:
        """A message without the names of the server's files."""
        folder = self._settings.jobs / job
        text = text.replace(str(folder / PORTRAIT), "the portrait").replace(str(folder / SPEECH), "the speech")
        return "the video could not be written" if str(self._settings.folder) in text else text


def _size(path: Path) -> int:
    """Of a file; 0 where it is no more, since the job was cancelled meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _code(error: KptalkError) -> str:
    """``FaceNotFound`` as ``face_not_found``."""
    if isinstance(error, WorkerDied):
        return "worker_crashed"
    name = "StorageError" if isinstance(error, OutputError) else type(error).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
