"""What a batch of a million rows asks of the driver: its memory over time, rows per second, and the results file.

    python benchmarks/batch_million.py [--rows 1000000] [--engine local|ray] [--jobs 2] [--data]

Workers do nothing: they answer as if the video had been made. All else is as in ``kptalk batch``: the table is read and
checked, rows go to workers, longest first, and a line is written for each. ``--data`` sends the rows through Ray Data
with an actor pool instead, a row a block, as a result a row needs it: what that takes is what ``engine.py`` saves.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from common import portrait, recording

import kptalk.batch.run as batch
from kptalk.batch.results import DONE, Result
from kptalk.batch.worker import Made, Maker, Task


class Idle(Maker):
    """Answers at once."""

    def __call__(self, task: Task) -> Made:
        result = Result(task.job.number, task.job.output, DONE, 1.0, 1500, 6_000_000, "0" * 64, "1" * 64)
        return Made(replace(result, row=task.job.number))


def memory(kind: str = "VmRSS") -> float:
    """MB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) / 1024


def write_jobs(folder: Path, rows: int) -> Path:
    """A table with a seed and a name of its own in every row."""
    face, speech = portrait(folder), recording(folder, 1)
    path = folder / "jobs.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["portrait", "speech", "seed", "output"])
        table.writerows([face.name, speech.name, k, f"{k // 1000:04}/{k:07}.mp4"] for k in range(rows))
    return path


def measured(name: str, work: Iterator[object], rows: int) -> None:
    """Read all progress; a line at the beginning and after every tenth."""
    began = first = time.perf_counter()
    step = max(1, rows // 10)
    for done, _ in enumerate(work, 1):
        now = time.perf_counter()
        if done == 1:
            first = now
            spent = f"{now - began:.1f} s, {time.process_time():.1f} s of processor time"
            print(f"{name}: read and checked, workers ready after {spent}, {memory():.0f} MB", flush=True)
        if done % step == 0:
            rate = done / max(now - first, 1e-9)
            print(f"{name}: {done:>9,} rows, {now - first:7.1f} s, {rate:6.0f} rows/s, {memory():5.0f} MB", flush=True)
    print(f"{name}: all in {time.perf_counter() - began:.1f} s, at most {memory('VmHWM'):.0f} MB", flush=True)


def through_ray_data(rows: int, workers: int) -> Iterator[object]:
    """The same number of rows through Ray Data, a row a block, so that each is known as it is done."""
    import ray

    ray.init(include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    numbers = ray.data.range(rows, override_num_blocks=rows)
    done = numbers.map(_DataWorker, compute=ray.data.ActorPoolStrategy(size=workers))
    yield from done.iter_rows()


class _DataWorker:
    def __call__(self, row: dict[str, int]) -> dict[str, object]:
        return {"row": row["id"], "output": f"{row['id']:07}.mp4", "status": DONE, "sha256": "0" * 64}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--data", action="store_true")
    arguments = parser.parse_args()
    if arguments.data:
        measured("Ray Data", through_ray_data(arguments.rows, arguments.jobs), arguments.rows)
        return
    batch.Maker = Idle  # type: ignore[misc]  # this process' alone: workers get the class itself
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = write_jobs(folder, arguments.rows)
        work = batch.run_batch(path, folder / "out", engine=arguments.engine, workers=arguments.jobs)
        measured(arguments.engine, work, arguments.rows)
        size = (folder / "out" / "results.csv").stat().st_size
        print(f"results.csv: {size / 1e6:.1f} MB, {size / arguments.rows:.0f} bytes a row")


if __name__ == "__main__":
    main()
