"""Whether a ``kptalk batch`` that is killed again and again ends with the files of one that was left alone.

    python benchmarks/batch_kills.py [--rows 40] [--workers 20] [--batches 5] [--jobs 2] [--seed 0]

Workers are killed with SIGKILL at random moments, ``--workers`` times, and the whole group of processes ``--batches``
times, after which the same command is started again. At the end every output is compared with the undisturbed run's,
and no file may have been written again once it had its name: its inode and time of change are noted when it is seen.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from batch_speed import write_jobs


def start(jobs: Path, folder: Path, workers: int) -> subprocess.Popen[bytes]:
    """A run in a session of its own."""
    argv = [sys.executable, "-m", "kptalk", "batch", str(jobs), "-o", str(folder), "--jobs", str(workers), "--quiet"]
    return subprocess.Popen(argv, start_new_session=True, stderr=subprocess.DEVNULL)


def workers_of(parent: int) -> list[int]:
    """The processes of a run's workers; the first child is Python's tracker of resources."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()][1:]


class Watch:
    """Notes every output when it is first seen, and whether it changes after that."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.seen, self.again = folder, dict[str, tuple[int, int]](), set[str]()

    def look(self) -> None:
        for path in self._folder.glob("*.mp4"):
            about = path.stat()
            mark = about.st_ino, about.st_mtime_ns
            if self.seen.setdefault(path.name, mark) != mark:
                self.again.add(path.name)


def disturbed(jobs: Path, folder: Path, workers: int, kills: list[str], pause: float, rng: random.Random) -> Watch:
    """Run until the batch is finished, with all the kills that fit in."""
    watch = Watch(folder)
    while True:
        process = start(jobs, folder, workers)
        until = time.monotonic() + rng.uniform(0.3, 1.7) * pause
        while process.poll() is None:
            time.sleep(0.02)
            watch.look()
            if kills and time.monotonic() > until:
                until = time.monotonic() + rng.uniform(0.3, 1.7) * pause
                alive = workers_of(process.pid)
                if kills[-1] == "worker" and alive:
                    os.kill(rng.choice(alive), signal.SIGKILL)
                    kills.pop()
                elif kills[-1] == "batch":
                    os.killpg(process.pid, signal.SIGKILL)
                    kills.pop()
        if process.wait() != -signal.SIGKILL:
            watch.look()
            if process.returncode:
                raise SystemExit(f"a run ended with code {process.returncode}: see {folder}/results.csv")
            return watch


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but the results."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "results.csv")
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    kills = ["worker"] * arguments.workers + ["batch"] * arguments.batches
    rng.shuffle(kills)
    wanted = len(kills)
    with TemporaryDirectory() as name:
        folder = Path(name)
        jobs = write_jobs(folder, arguments.rows, arguments.seconds)
        began = time.monotonic()
        if start(jobs, folder / "alone", arguments.jobs).wait():
            raise SystemExit("the run that was left alone failed")
        alone, expected = time.monotonic() - began, digests(folder / "alone")
        if len(expected) != arguments.rows:
            raise SystemExit(f"{len(expected)} of {arguments.rows} outputs")
        batches, again = 0, set[str]()
        while kills:
            batches += 1
            out = folder / f"out-{batches}"
            watch = disturbed(jobs, out, arguments.jobs, kills, max(5.0, alone / 4), rng)
            if (found := digests(out)) != expected:
                changed = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
                raise SystemExit(f"other bytes in {', '.join(changed)}")
            again |= watch.again
            with (out / "results.csv").open(newline="") as file:
                listed = [row["output"] for row in csv.DictReader(file) if row["status"] == "done"]
            if sorted(listed) != sorted(expected):
                raise SystemExit(f"{out / 'results.csv'} names other files than there are")
    print(f"{wanted} kills ({arguments.workers} of workers, {arguments.batches} of the whole) in {batches} batches of")
    print(f"{arguments.rows} videos, {alone:.0f} s when left alone: the same bytes, {len(again)} made again once there")
    if again:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
