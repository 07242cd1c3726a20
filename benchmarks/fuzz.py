"""Damaged and hostile files, to everything that reads files: a result or one clear error, nothing else.

    python benchmarks/fuzz.py [--inputs 10000] [--seed 0] [--kinds jpg mp4 ...] [--time 60] [--jobs 2] [--keep FOLDER]

Photos, recordings, videos, motion files, model folders, tables and jobs are made by code here, damaged in ways that
follow from ``--seed``, and read in worker processes with limits on memory and time. Counted are: ok, error (one of
kptalk's own, on one line), and what must not be: traceback (any other exception), crash (the process died), hang (more
than ``--seconds`` of processor time, or ten times as long by the clock), memory (more than 2 GB). ``http`` sends
damaged uploads to a server of its own. What must not be is kept as a file in ``--keep``, and makes the program end
with 1.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import av
import numpy as np
import torch
from fuzz_checksums import repaired
from fuzz_readers import READERS, Read
from fuzz_seeds import damaged, seeds
from interrupt import _computed

MEMORY = 2 << 30  # bytes
PATIENCE = 10  # of a machine that has other work, times what a file may take
ROOM = 6 << 30  # of address space beyond what the imports took: a bomb must not take the machine along


@dataclass(frozen=True)
class Task:
    """One damaged file, which follows from the three numbers."""

    kind: str
    number: int
    seed: int

    def content(self, corpus: dict[str, list[bytes]]) -> bytes:
        """The bytes."""
        rng = np.random.default_rng([self.seed, self.number])
        goods = corpus[self.kind]
        good = goods[self.number % len(goods)]
        others = corpus[str(rng.choice(sorted(set(corpus) - {"model"})))]
        other = good if self.kind == "model" else others[int(rng.integers(len(others)))]
        found = damaged(good, other, rng)
        return repaired(found) if rng.random() < 0.5 else found


def _peak() -> int:
    """Most bytes in memory since the last time."""
    status = Path("/proc/self/status").read_text()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _attempt(path: Path, readers: tuple[Read, ...]) -> tuple[str, str]:
    from kptalk.errors import KptalkError

    outcome, said = "ok", ""
    for read in readers:
        try:
            read(path)
        except KptalkError as error:
            if "\n" in str(error) or not str(error):
                return "traceback", f"not one line: {error!r}"
            outcome, said = "error", f"{type(error).__name__}: {error}"
        except Exception:
            return "traceback", traceback.format_exc()
    return outcome, said


def work(pipe: Connection, corpus: dict[str, list[bytes]]) -> None:
    """What a worker process does: one file after the other."""
    import kptalk.pipeline  # noqa: F401  # now, not in somebody's limit

    torch.set_num_threads(1)
    av.logging.set_level(None)
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libtiff and others print
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(prefix="kptalk-fuzz-") as temporary:
        pipe.send("ready")
        while (task := pipe.recv()) is not None:
            path = Path(temporary) / f"input.{task.kind}"
            path.write_bytes(task.content(corpus))
            _peak()
            outcome, said = _attempt(path, READERS[task.kind])
            peak = _peak()
            if peak > MEMORY and outcome in ("ok", "error"):
                outcome, said = "memory", f"{peak >> 20} MB; {said}"
            for left in Path(temporary).iterdir():
                left.unlink()
            pipe.send((outcome, said))


class Worker:
    """A process, started again when it dies."""

    def __init__(self, corpus: dict[str, list[bytes]], seconds: float) -> None:
        self.corpus, self.seconds, self.task = corpus, seconds, None
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, self.corpus), daemon=True)
        self.process.start()
        other.close()
        if not self.pipe.poll(120) or self.pipe.recv() != "ready":
            raise SystemExit("a worker did not start")

    def begin(self, task: Task) -> None:
        self.task, self.until = task, time.monotonic() + PATIENCE * self.seconds
        self.spent = _computed(self.process.pid)
        self.pipe.send(task)

    def result(self) -> tuple[str, str] | None:
        """What became of the task, if anything did."""
        try:
            if self.pipe.poll():
                return self.pipe.recv()
            if time.monotonic() < self.until and _computed(self.process.pid) - self.spent < self.seconds:
                return None
            outcome = "hang", f"more than {self.seconds:g} s of work, or {PATIENCE * self.seconds:g} s"
        except (EOFError, OSError):
            self.process.join(10)
            outcome = "crash", f"exit code {self.process.exitcode}"
        self.process.kill()
        self.process.join()
        self.start()
        return outcome

    def end(self) -> None:
        with suppress(OSError):
            self.pipe.send(None)
        self.process.join(5)
        self.process.kill()


def fuzz_files(
    corpus: dict[str, list[bytes]],
    tasks: list[Task],
    jobs: int,
    seconds: float,
    keep: Path,
    in_all: float | None = None,
) -> Counter[tuple[str, str]]:
    """Read them all, or as many as can be begun in so many seconds; counts by kind and outcome."""
    counts: Counter[tuple[str, str]] = Counter()
    workers = [Worker(corpus, seconds) for _ in range(jobs)]
    waiting, until = list(reversed(tasks)), time.monotonic() + (in_all or float("inf"))
    while waiting or any(worker.task for worker in workers):
        if time.monotonic() > until:
            waiting = []
        for worker in workers:
            if worker.task is not None and (found := worker.result()) is not None:
                note(counts, keep, worker.task, worker.task.content(corpus), *found)
                worker.task = None
            if worker.task is None and waiting:
                worker.begin(waiting.pop())
        if busy := [worker.pipe for worker in workers if worker.task]:
            wait(busy, timeout=0.5)
    for worker in workers:
        worker.end()
    return counts


def note(counts: Counter[tuple[str, str]], keep: Path, task: Task, content: bytes, outcome: str, said: str) -> None:
    """Count, and keep what must not be."""
    counts[task.kind, outcome] += 1
    if outcome not in ("ok", "error"):
        keep.mkdir(parents=True, exist_ok=True)
        path = keep / f"{outcome}-{task.seed}-{task.number}.{task.kind}"
        path.write_bytes(content)
        path.with_name(f"{path.name}.txt").write_text(said)
        print(f"{outcome}: {path}: {said.strip().splitlines()[-1] if said.strip() else ''}", flush=True)


def fuzz_http(corpus: dict[str, list[bytes]], count: int, seed: int, keep: Path) -> Counter[tuple[str, str]]:
    """Damaged uploads to a server: photos are looked at, and some pairs of photo and recording become videos."""
    from serving import Running

    counts: Counter[tuple[str, str]] = Counter()
    photos, sounds = ("jpg", "png", "webp", "gif", "tiff"), ("wav", "mp3", "m4a", "ogg", "webm", "mp4")
    with tempfile.TemporaryDirectory() as temporary:
        server = Running(Path(temporary) / "served", "--waiting", "100000", "--keep", "1d")
        jobs = []
        for number in range(count):
            photo, sound = photos[number % len(photos)], sounds[number % len(sounds)]
            task = Task(photo, number, seed)
            begun = time.monotonic()
            files = {"portrait": task.content(corpus)}
            try:
                if number % 4:
                    answer = server.client.post("/v1/portraits", files=files)
                else:
                    files["speech"] = Task(sound, number, seed).content(corpus)
                    files["portrait"] = files["portrait"] if number % 8 else corpus["http-portrait"][0]
                    answer = server.client.post("/v1/videos", files=files, data={"size": "64"})
                    if answer.status_code == 202:
                        jobs.append(answer.json()["id"])
            except Exception as error:
                note(counts, keep, Task("http", number, seed), files["portrait"], "crash", repr(error))
                continue
            bad = answer.status_code >= 500 or "Traceback" in answer.text or temporary in answer.text
            late = time.monotonic() - begun > 120  # other work on the machine counts here
            outcome = "traceback" if bad else "hang" if late else "ok" if answer.is_success else "error"
            note(counts, keep, Task("http", number, seed), files["portrait"], outcome, answer.text)
        until = time.monotonic() + 300 + 2 * len(jobs)
        for job in jobs:
            while (state := server.client.get(f"/v1/videos/{job}").json()).get("status") in ("queued", "in_progress"):
                if time.monotonic() > until:
                    break
                time.sleep(0.05)
            error = (state.get("error") or {}).get("code")
            outcome = (
                "ok"
                if state.get("status") == "completed"
                else "error"
                if error not in (None, "internal_error", "worker_died", "timeout")
                else "traceback"
            )
            counts["http", outcome] += 1
            if outcome == "traceback":
                print(f"{job}: {state}")
        server.stop()
    return counts


def print_table(counts: Counter[tuple[str, str]], kinds: list[str]) -> int:
    """A line a kind; returns how many outcomes must not be."""
    outcomes = ("ok", "error", "traceback", "crash", "hang", "memory")
    print(f"{'kind':8}", *(f"{outcome:>10}" for outcome in outcomes))
    for kind in kinds:
        print(f"{kind:8}", *(f"{counts[kind, outcome]:10}" for outcome in outcomes))
    totals = [sum(number for (_, found), number in counts.items() if found == outcome) for outcome in outcomes]
    print(f"{'all':8}", *(f"{total:10}" for total in totals), flush=True)
    return sum(totals[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--http", type=int, default=None, help="uploads among them; a twentieth")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0, help="that one file may take")
    parser.add_argument("--time", type=float, help="seconds, after which the rest of the files is left")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kinds", nargs="*")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    given = parser.parse_args()
    began = time.monotonic()
    temporary = Path(tempfile.mkdtemp(prefix="kptalk-seeds-"))
    try:
        corpus = seeds(temporary)
    finally:
        shutil.rmtree(temporary)
    kinds = given.kinds or sorted(corpus)
    http = given.inputs // 20 if given.http is None else given.http
    # Model folders take long to load: there are fewer of them.
    weights = np.array([0.25 if kind == "model" else 1.0 for kind in kinds])
    numbers = np.random.default_rng(given.seed).choice(len(kinds), given.inputs - http, p=weights / weights.sum())
    tasks = [Task(kinds[int(kind)], number, given.seed) for number, kind in enumerate(numbers)]
    counts = fuzz_files(corpus, tasks, given.jobs, given.seconds, given.keep, given.time)
    if http:
        print_table(counts, kinds)
        from skimage import data

        file = io.BytesIO()
        from PIL import Image

        Image.fromarray(data.astronaut()[::2, ::2]).save(file, "PNG")
        counts += fuzz_http(corpus | {"http-portrait": [file.getvalue()]}, http, given.seed, given.keep)
    bad = print_table(counts, [*kinds, *(["http"] if http else [])])
    print(f"{time.monotonic() - began:.0f} s")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
