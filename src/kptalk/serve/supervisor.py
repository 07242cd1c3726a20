"""Starts the worker, sees that it lives, and starts it again when it does not."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kptalk.serve.settings import READY, Settings
from kptalk.serve.store import Store

if TYPE_CHECKING:
    from kptalk.pipeline import Pipeline

PAUSES = (0.0, 0.5, 2.0, 10.0)  # seconds before a start, after so many that never got ready
STARTING = 600.0  # seconds until a worker is ready
STOPPING = 5.0  # seconds that it may take to end
NO_ROOM = 5.0  # seconds before the store is asked again, where its disk is full
LOOK = 0.25  # seconds between looks whether it lives
logger = logging.getLogger(__name__)


Load = Callable[[Settings], "Pipeline"]


class Workers(Protocol):
    """What makes the videos, as the server knows it."""

    @property
    def ready(self) -> bool: ...

    @property
    def restarts(self) -> int: ...

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def stop(self) -> None: ...


def main(settings: Settings, server: Connection, load: Load | None) -> None:
    """What the process does; only there the models' modules are loaded."""
    from kptalk.serve import worker

    worker.main(settings, server, load or worker.load)


class WorkerProcess:
    """The worker in a spawned process of its own, and a thread that watches it.

    Attributes:
        ready: whether it has loaded the model and is warm.
        restarts: how often it was started again.
        pid: of the process, or None.
    """

    def __init__(self, settings: Settings, store: Store, load: Load | None = None) -> None:
        """``load`` makes the pipeline; it is called in the process, so it must be a function of a module."""
        self._settings, self._store, self._load = settings, store, load
        self.ready, self.restarts, self.pid = False, 0, None
        self._connection: Connection | None = None
        self._sending, self._stopping = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="kptalk-worker", daemon=True)

    pid: int | None

    def start(self) -> None:
        """Start the process; it is ready later."""
        self._thread.start()

    def wake(self) -> None:
        """Let the worker look at the store now."""
        with self._sending, suppress(OSError):
            if self._connection is not None:
                self._connection.send("wake")

    def stop(self) -> None:
        """End the process; unfinished jobs stay for the next start."""
        self._stopping.set()
        with self._sending, suppress(OSError):
            if self._connection is not None:
                self._connection.send("stop")
        self._thread.join(2 * STOPPING)

    def _watch(self) -> None:
        unready = 0
        while not self._stopping.is_set():
            was_ready = self._run_once()
            if self._stopping.is_set():
                return
            self.restarts += 1
            unready = 0 if was_ready else min(unready + 1, len(PAUSES) - 1)
            self._stopping.wait(PAUSES[unready])

    def _run_once(self) -> bool:
        """Start the worker and wait until it has ended; whether it was ready before."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=main, args=(self._settings, theirs, self._load), daemon=True)
        process.start()
        theirs.close()
        with self._sending, suppress(OSError):
            self._connection, self.pid = ours, process.pid
            if self._stopping.is_set():  # meanwhile, when there was nobody to tell
                ours.send("stop")
        try:
            culprit, stalled = self._listen(process, ours)
        finally:
            was_ready, self.ready = self.ready, False
            with self._sending:
                self._connection, self.pid = None, None
                ours.close()
            process.join(STOPPING)
            if process.exitcode is None:
                process.kill()
                process.join()
        if not self._stopping.is_set():
            killed = process.exitcode == -signal.SIGKILL and not stalled and not self._out_of_memory()
            logger.warning("the worker ended with %s at %s", process.exitcode, culprit or "no job")
            self._requeue(culprit, killed)
        return was_ready

    def _requeue(self, culprit: str | None, killed: bool) -> None:
        """Let the jobs wait again, as soon as the disk takes that."""
        while not self._stopping.is_set():
            try:
                self._store.requeue(culprit, killed, self._settings.keep)
                return
            except sqlite3.OperationalError as error:
                logger.warning("the jobs cannot be kept: %s", error)
                self._stopping.wait(NO_ROOM)

    def _listen(self, process: SpawnProcess, connection: Connection) -> tuple[str | None, bool]:
        """What it worked on when it ended, and whether it was ended because it gave no sign of life."""
        self._kills = _kills_for_memory()
        culprit, heard = None, time.monotonic()
        while True:
            try:
                while connection.poll(LOOK):
                    said, heard = connection.recv(), time.monotonic()
                    if said == READY:
                        self.ready = True
                    else:
                        culprit = said or None
            except (EOFError, OSError):
                process.join(LOOK)
            if not process.is_alive():
                return culprit, False
            if time.monotonic() - heard > (self._settings.stall_seconds if self.ready else STARTING):
                process.kill()
                return culprit, True
            if self._stopping.is_set():
                process.join(STOPPING)
                return culprit, False

    def _out_of_memory(self) -> bool:
        """Whether the system has killed a process for its memory since the worker was started."""
        return _kills_for_memory() > self._kills


def _kills_for_memory() -> int:
    """How many processes Linux has killed for their memory; 0 on other systems."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
