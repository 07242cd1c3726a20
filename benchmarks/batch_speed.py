"""How fast a batch of short jobs is, against one process and against a shell loop over ``kptalk animate``.

    python benchmarks/batch_speed.py [--rows 200] [--seconds 2] [--jobs 1 2] [--loop 10]

The loop starts the program for every video; it is run for ``--loop`` rows and its time extrapolated to all of them.
Rates are wall-clock; memory is the most that all processes held at once (proportional set size), sampled ten times a
second.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from common import portrait, recording, run


def write_jobs(folder: Path, rows: int, seconds: float) -> Path:
    """A table of short recordings, each with a seed of its own."""
    face, speech = portrait(folder), recording(folder, seconds)
    path = folder / "jobs.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["portrait", "speech", "seed", "output"])
        table.writerows([face.name, speech.name, seed, f"{seed}.mp4"] for seed in range(rows))
    return path


def memory_of(group: int) -> float:
    """MB of all processes of a group, what they share counted once."""
    total = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(path.name)) == group:
                lines = (path / "smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, StopIteration):  # it has ended
            continue
    return total / 1024


def batch(jobs: Path, folder: Path, workers: int) -> tuple[float, float]:
    """Seconds and peak MB of one batch."""
    argv = [sys.executable, "-m", "kptalk", "batch", str(jobs), "-o", str(folder), "--jobs", str(workers), "--quiet"]
    began, most = time.perf_counter(), 0.0
    running = subprocess.Popen(argv, start_new_session=True)
    while running.poll() is None:
        most = max(most, memory_of(running.pid))
        time.sleep(0.1)
    if running.returncode:
        raise SystemExit(f"a batch ended with code {running.returncode}")
    return time.perf_counter() - began, most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--loop", type=int, default=10)
    arguments = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        jobs = write_jobs(folder, arguments.rows, arguments.seconds)
        with jobs.open(newline="") as file:
            rows = list(csv.DictReader(file))[: arguments.loop]
        spent = 0.0
        for row in rows:
            files = folder / row["portrait"], folder / row["speech"]
            output = ("-o", folder / "loop.mp4", "--overwrite", "--quiet")
            spent += run("animate", *files, "--seed", row["seed"], *output)[0]
        loop = spent / len(rows) * arguments.rows
        what = f"{arguments.rows} videos of {arguments.seconds:g} s"
        print(f"| {what} | s | a minute | of one process | of the loop | MB |")
        print("|---|---|---|---|---|---|")
        print(f"| shell loop, extrapolated from {len(rows)} | {loop:.0f} | {60 * arguments.rows / loop:.1f} | | 1 | |")
        one = None
        for workers in arguments.jobs:
            taken, most = batch(jobs, folder / f"out-{workers}", workers)
            one = one or taken
            rate = 60 * arguments.rows / taken
            times = f"{one / taken:.2f} | {loop / taken:.1f}"
            print(f"| batch, {workers} workers | {taken:.0f} | {rate:.1f} | {times} | {most:.0f} |", flush=True)


if __name__ == "__main__":
    main()
