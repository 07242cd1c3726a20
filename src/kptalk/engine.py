"""Maps rows of work over warm workers: processes of this machine, or actors of a Ray cluster.

A worker is built once (it loads its models) and then called for row after row. Results come in order or as they are
ready; a row that raises fails alone; a worker that dies is replaced and its row is tried again. Rows are taken when a
worker is free, so there may be any number of them.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from multiprocessing import connection, get_context, parent_process
from typing import Any, Generic, Protocol, TypeVar

from kptalk.cluster import Cluster
from kptalk.device import one_blas_thread, release_memory, usable_cores, use_one_thread
from kptalk.errors import OptionError, WorkerDied

ENGINES = ("local", "ray")
AHEAD = 8  # rows a worker that may wait for an earlier one, where results are wanted in order
FALSE_STARTS = 3  # deaths of workers, before any was ready, after which there is no hope
Row = TypeVar("Row")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Row, Result]):
    """What became of row ``number``: its ``result``, or the ``error`` that it ended with."""

    number: int
    row: Row
    result: Result | None = None
    error: Exception | None = None


Reply = tuple[str, Any]  # ready, done and the result, failed and the exception, or died and how


class _Workers(Protocol):
    """Workers by number; each answers that it is ready, then once for every row it is sent."""

    count: int

    def start(self, key: int) -> None: ...
    def send(self, key: int, row: Any) -> None: ...
    def wait(self) -> list[tuple[int, Reply]]:
        """At least one answer."""

    def close(self) -> None: ...


def check_engine(engine: str) -> None:
    """Raises OptionError where there is no such engine."""
    if engine not in ENGINES:
        raise OptionError(f"engine is {engine!r}: give one of {', '.join(ENGINES)}")


def map_rows(
    build: Callable[[], Callable[[Row], Result]],
    rows: Iterable[Row],
    *,
    engine: str = "local",
    jobs: int | None = None,
    address: str | None = None,
    gpus: float = 0,
    ordered: bool = False,
    tries: int = 2,
) -> Iterator[Outcome[Row, Result]]:
    """Call ``build()(row)`` for every row, with one ``build()`` for each worker; both must pickle.

    Args:
        build: makes what is called, for example a class or a partial of one.
        rows: taken one by one as workers become free.
        engine: ``local``: processes with one thread each; ``ray``: actors.
        jobs: how many workers; None for one a core, of this machine or of the cluster, or as many as its GPUs let.
        address: of the Ray cluster, ``auto`` or a host; None for that of the Ray job that this is, or one started here.
        gpus: that each Ray actor asks for.
        ordered: outcomes in the order of the rows.
        tries: workers that may die at a row, before it has failed.

    Raises:
        OptionError: no such engine, or less than one worker.
        MissingExtra: Ray is not installed.
        WorkerDied: no worker gets ready.
        Exception: what ``build`` raises.
    """
    check_engine(engine)
    if jobs is not None and jobs < 1:
        raise OptionError(f"jobs is {jobs}: give 1 or more")
    numbered = enumerate(rows)
    if (first := next(numbered, None)) is None:  # no workers are needed
        return
    pool: _Workers = _Ray(build, jobs, address, gpus) if engine == "ray" else _Processes(build, jobs)
    try:
        yield from _schedule(pool, chain([first], numbered), ordered, tries)
    finally:
        pool.close()


def _schedule(
    pool: _Workers, rows: Iterator[tuple[int, Any]], ordered: bool, tries: int
) -> Iterator[Outcome[Any, Any]]:
    again: deque[tuple[int, Any]] = deque()  # rows whose worker died
    tried: dict[int, int] = {}
    busy: dict[int, tuple[int, Any]] = {}
    idle: list[int] = []
    finished: dict[int, Outcome[Any, Any]] = {}
    due, deaths, more = 0, 0, True
    for key in range(pool.count):
        pool.start(key)
    while True:
        while idle and (again or more):
            if again:
                number, row = again.popleft()
            elif ordered and finished and max(finished) - due > AHEAD * pool.count:
                break
            elif (following := next(rows, None)) is None:
                more = False
                break
            else:
                number, row = following
            key = idle.pop()
            busy[key] = number, row
            pool.send(key, row)
        if not (busy or again or more):
            return
        for key, (kind, value) in pool.wait():
            if kind == "ready":
                idle.append(key)
                deaths = 0
                continue
            if kind == "died":
                deaths += key not in busy and key not in idle
                idle = [other for other in idle if other != key]
                if deaths >= FALSE_STARTS:
                    raise WorkerDied(f"no worker gets ready: the last one {value}")
                pool.start(key)
            elif key not in busy:  # it could not be built
                raise value
            else:
                idle.append(key)
            if key not in busy:
                continue
            number, row = busy.pop(key)
            if kind == "died":
                tried[number] = tried.get(number, 0) + 1
                if tried[number] < tries:
                    again.append((number, row))
                    continue
                kind, value = "failed", WorkerDied(f"the worker {value}, {_times(tries)}")
            error = value if kind == "failed" else None
            finished[number] = Outcome(number, row, value if kind == "done" else None, error)
        for number in [due] if ordered else list(finished):
            while number in finished:
                yield finished.pop(number)
                due, number = due + 1, number + 1 if ordered else -1


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _answer(work: Callable[[Any], Any], row: Any) -> Reply:
    try:
        return "done", work(row)
    except Exception as error:
        return "failed", error
    finally:
        release_memory()


class _Processes:
    """Processes of this machine, started afresh, each at the end of a pipe."""

    def __init__(self, build: Callable[[], Any], workers: int | None) -> None:
        self.count = workers or usable_cores()
        self._build, self._context = build, get_context("spawn")
        self._pipes: dict[int, Any] = {}
        self._processes: dict[int, Any] = {}

    def start(self, key: int) -> None:
        self._pipes[key], theirs = self._context.Pipe()
        self._processes[key] = self._context.Process(target=_serve, args=(theirs, self._build), daemon=True)
        with one_blas_thread():
            self._processes[key].start()
        theirs.close()

    def send(self, key: int, row: Any) -> None:
        with suppress(OSError):  # it is dead, which the next wait says
            self._pipes[key].send(row)

    def wait(self) -> list[tuple[int, Reply]]:
        ready = connection.wait(list(self._pipes.values()))
        return [(key, self._read(key)) for key, pipe in list(self._pipes.items()) if pipe in ready]

    def _read(self, key: int) -> Reply:
        try:
            reply: Reply = self._pipes[key].recv()
        except (EOFError, OSError):
            self._pipes[key].close()
            self._processes[key].join()
            code = self._processes[key].exitcode
            return "died", f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return reply

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
        for key, process in self._processes.items():
            process.join()
            self._pipes[key].close()


def _serve(pipe: Any, build: Callable[[], Callable[[Any], Any]]) -> None:
    """The life of a process: it ends with its parent, which alone is told of Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    built = _answer(lambda _: build(), None)
    use_one_thread()
    if built[0] == "failed":
        _send(pipe, built)
        return
    pipe.send(("ready", None))
    with suppress(EOFError):
        while True:
            _send(pipe, _answer(built[1], pipe.recv()))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _send(pipe: Any, reply: Reply) -> None:
    try:
        pipe.send(reply)
    except (TypeError, ValueError, AttributeError) as error:  # it does not pickle
        pipe.send(("failed", RuntimeError(f"{reply[1]!r}: {error}")))


class _Ray:
    """Actors of a Ray cluster with a core each."""

    def __init__(self, build: Callable[[], Any], workers: int | None, address: str | None, gpus: float) -> None:
        self._cluster = Cluster(address)
        self._ray, self._build = self._cluster.ray, build
        fitting = self._cluster.count("GPU") / gpus if gpus else self._cluster.count("CPU")
        self.count = workers or max(1, int(fitting))
        self._actor = self._ray.remote(num_cpus=1, num_gpus=gpus)(_Actor)
        self._actors: dict[int, Any] = {}
        self._asked: dict[Any, int] = {}

    def start(self, key: int) -> None:
        self._actors[key] = self._actor.remote(self._build)
        self._asked[self._actors[key].ready.remote()] = key

    def send(self, key: int, row: Any) -> None:
        self._asked[self._actors[key].call.remote(row)] = key

    def wait(self) -> list[tuple[int, Reply]]:
        ready, _ = self._ray.wait(list(self._asked), fetch_local=False)
        return [(self._asked.pop(answer), self._read(answer)) for answer in ready]

    def _read(self, answer: Any) -> Reply:
        try:
            reply: Reply = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:  # the actor, or the node that it was on
            return "died", f"is gone: {str(error).strip().splitlines()[0]}"
        return reply

    def close(self) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._cluster.__exit__()


class _Actor:
    def __init__(self, build: Callable[[], Callable[[Any], Any]]) -> None:
        self._built = _answer(lambda _: build(), None)
        use_one_thread()

    def ready(self) -> Reply:
        return ("ready", None) if self._built[0] == "done" else self._built

    def call(self, row: Any) -> Reply:
        return _answer(self._built[1], row)
