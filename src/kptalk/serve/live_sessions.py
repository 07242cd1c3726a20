"""The processes of live voices: started when they are needed, kept for a while, ended where they misbehave."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from kptalk.serve.live_messages import CANCEL, READY, Ended, Start
from kptalk.serve.settings import Settings
from kptalk.serve.supervisor import Load

STARTING, ENDING, IDLE = 120.0, 5.0, 600.0  # seconds until a process is ready, has ended, is no longer needed


def main(settings: Settings, server: Connection, load: Load | None) -> None:
    """What a process does; only there the models' modules are loaded."""
    from kptalk.serve import live_process, worker

    live_process.main(settings, server, load or worker.load)


class Busy(Exception):
    """No process is free, or none can be started."""


class LiveProcess:
    """A process that speaks for one client at a time, and a thread that listens to it.

    Attributes:
        pid: of the process.
        unsent: bytes of video that nobody has taken yet.
        gone: whether the process has ended.
    """

    def __init__(self, settings: Settings, load: Load | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=main, args=(settings, theirs, load), daemon=True)
        self._process.start()
        theirs.close()
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Queue[Any]()
        self.unsent, self.pid = 0, self._process.pid
        self._speaking, self.gone = False, False
        threading.Thread(target=self._listen, name="kptalk-live", daemon=True).start()

    def send(self, message: Any) -> None:
        """Send a message; one to a process that is gone is lost."""
        self._speaking |= isinstance(message, Start)
        with suppress(OSError, ValueError):
            self._connection.send(message)

    async def receive(self) -> Any:
        """The next message; an ``Ended`` where the process is gone."""
        message = await self._news.get()
        self.unsent -= len(message) if isinstance(message, bytes) else 0
        self._speaking &= not isinstance(message, Ended)
        return message

    async def finish(self) -> bool:
        """End the session, if there still is one, and wait for that; whether the process is still good."""
        if self._speaking:
            self.send(CANCEL)
        with suppress(TimeoutError):
            async with asyncio.timeout(ENDING):
                while self._speaking:
                    await self.receive()
        return not self.gone and not self._speaking

    def end(self) -> None:
        """End the process."""
        self.send(None)
        self._process.join(0.2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()

    def _listen(self) -> None:
        message: Any = READY
        while message is not None:
            try:
                message = self._connection.recv()
            except (EOFError, OSError, TypeError):
                message = None
            with suppress(RuntimeError):  # the loop is closed: the server ends
                self._loop.call_soon_threadsafe(self._tell, message)

    def _tell(self, message: Any) -> None:
        self.unsent += len(message) if isinstance(message, bytes) else 0
        self.gone |= message is None
        self._news.put_nowait(Ended("internal_error", "the process has ended") if message is None else message)


class LiveSessions:
    """As many processes as clients may speak at once; started when first needed, kept for a while for the next."""

    def __init__(self, settings: Settings, load: Load | None = None) -> None:
        self._settings, self._load = settings, load
        self._free: list[tuple[LiveProcess, asyncio.TimerHandle]] = []
        self._ending: set[asyncio.Task[None]] = set()
        self.busy = 0
        self.processes: set[LiveProcess] = set()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[LiveProcess]:
        """A process that is ready, for one session.

        Raises:
            Busy: all are busy, or the model cannot be loaded.
        """
        while self.busy >= self._settings.live and self._ending:  # somebody is about to be gone
            await asyncio.wait(self._ending, return_when=asyncio.FIRST_COMPLETED)
        if self.busy >= self._settings.live:
            raise Busy("as many people speak as may at once: try again later")
        self.busy += 1
        process = None
        try:
            process = await self._ready()
            yield process
        finally:  # in a task of its own, since this one may have been cancelled
            task = asyncio.create_task(self._put_back(process))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def stop(self) -> None:
        """End all processes."""
        for process in list(self.processes):
            self._end(process)

    async def _ready(self) -> LiveProcess:
        while self._free:
            process, timer = self._free.pop()
            timer.cancel()
            if not process.gone:
                return process
            await asyncio.to_thread(self._end, process)
        process = LiveProcess(self._settings, self._load)
        self.processes.add(process)
        try:
            async with asyncio.timeout(STARTING):
                if await process.receive() == READY:
                    return process
        except BaseException:
            await asyncio.to_thread(self._end, process)
            raise
        await asyncio.to_thread(self._end, process)
        raise Busy("the model could not be loaded")

    async def _put_back(self, process: LiveProcess | None) -> None:
        try:
            good = process is not None and await process.finish()
        finally:
            self.busy -= 1
        if process is None or process not in self.processes:
            return
        if not good:
            await asyncio.to_thread(self._end, process)
            return
        timer = asyncio.get_running_loop().call_later(IDLE, self._expire, process)
        self._free.append((process, timer))

    def _expire(self, process: LiveProcess) -> None:
        self._free = [each for each in self._free if each[0] is not process]
        asyncio.get_running_loop().run_in_executor(None, self._end, process)

    def _end(self, process: LiveProcess) -> None:
        self.processes.discard(process)
        process.end()
