"""What a second of video costs a worker of a batch, and what that makes of a million minutes.

    python benchmarks/batch_cost.py [--seconds 60] [--runs 3] [--size 512] [--threads 1]

A warm worker with one thread of torch, or as many as are asked for, makes one video several times, each with a seed of
its own; the median counts. Processor time is the process', so other programs change it little; wall-clock time is what
an idle core would need.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import torch
from batch_million import memory
from common import portrait, recording

from kptalk.batch.jobs import Checker
from kptalk.batch.storage import storage_of
from kptalk.batch.worker import Maker, Task
from kptalk.weights.model import open_model

MINUTES = 1_000_000
BYTES_A_ROW = 180  # of results.csv, by benchmarks/batch_million.py


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    cost, wall, bytes_made = [], [], []
    with TemporaryDirectory() as name:
        folder = Path(name)
        row = {"portrait": portrait(folder), "speech": recording(folder, arguments.seconds), "size": arguments.size}
        read = sum(Path(row[kind]).stat().st_size for kind in ("portrait", "speech"))
        storage = storage_of(folder / "out")
        storage.open()
        maker, checker = Maker(storage, {"embedded": open_model("embedded").digest()}, "cpu"), Checker(folder, {})
        short = recording(folder, 1)
        maker(Task(checker.check(1, {**row, "speech": short})))
        torch.set_num_threads(arguments.threads)
        cv2.setNumThreads(arguments.threads)
        for seed in range(arguments.runs):
            began, spent = time.perf_counter(), time.process_time()
            made = maker(Task(checker.check(seed + 2, {**row, "seed": seed, "output": f"{seed}.mp4"})))
            cost.append((time.process_time() - spent) / arguments.seconds)
            wall.append((time.perf_counter() - began) / arguments.seconds)
            bytes_made.append(made.result.bytes / arguments.seconds)
            if made.result.error:
                raise SystemExit(made.result.error)
        storage.close(finished=True)
    core, written = statistics.median(cost), statistics.median(bytes_made)
    print(
        f"a second of video, {arguments.size} pixels, embedded model, one worker, recordings of {arguments.seconds:g} s"
    )
    print(f"| processor time | {core:.3f} s |\n| wall-clock time | {statistics.median(wall):.3f} s |")
    print(f"| written | {written / 1000:.1f} kB |\n| read | {read / arguments.seconds / 1000:.1f} kB |")
    print(f"| memory of a worker, at most | {memory('VmHWM'):.0f} MB |")
    hours, inputs = core * 60 * MINUTES / 3600, read / arguments.seconds
    print(f"\na million minutes: {hours:,.0f} core-hours", end="; ")
    print(", ".join(f"{hours / cores:,.0f} h on {cores:,} cores" for cores in (100, 1000, 10_000)))
    print(f"written {written * 60 * MINUTES / 1e12:.1f} TB, read {inputs * 60 * MINUTES / 1e12:.1f} TB")
    rate = 1000 / (core * 60)
    print(f"rows of a minute: {rate:.1f} a second on 1,000 cores, results.csv {BYTES_A_ROW * MINUTES / 1e6:.0f} MB")
    print(f"each 1,000 cores: {rate * 60 * written / 1e6:.0f} MB a second written to storage")


if __name__ == "__main__":
    main()
