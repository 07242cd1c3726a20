"""Kills ``kptalk train`` at random moments and compares what it ends with to an uninterrupted run, number for number.

    python benchmarks/train_kills.py DATASET [--kills 20] [--steps 300] [--seed 0]

A small network on the CPU, float32. A run that ends before its kill is compared too, and another one begun.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from train_common import command, difference, model_folder, run, same, start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, changes = random.Random(arguments.seed), (f"steps={arguments.steps}", "score_every=5", "score_steps=1")
    with TemporaryDirectory() as temporary:
        first, whole, broken = (Path(temporary, name) for name in ("first", "whole", "broken"))
        run(command(arguments.data, model_folder(first), "steps=1", "score_steps=1"))  # makes the tokens
        began = time.monotonic()
        run(command(arguments.data, model_folder(whole, first), *changes))
        took = time.monotonic() - began
        print(f"uninterrupted: {took:.1f} s", flush=True)
        kills, ends = 0, 0
        model_folder(broken, first)
        while True:
            process = start(command(arguments.data, broken, *changes))
            if kills < arguments.kills:
                try:
                    process.wait(rng.uniform(0.2, 1.1) * took)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    kills += 1
                    continue
            if process.wait():
                raise SystemExit("training failed")
            ends += 1
            for name in ("motion.safetensors", "motion.log/last.safetensors"):
                if not same(whole / name, broken / name):
                    raise SystemExit(f"after {kills} kills {name} differs")
            if difference(whole, broken):
                raise SystemExit(f"after {kills} kills the checkpoint differs")
            print(f"{kills} kills so far: the same weights", flush=True)
            if kills >= arguments.kills:
                break
            shutil.rmtree(broken)
            model_folder(broken, first)
        print(f"{kills} kills, {ends} trainings ended: all with the weights of the uninterrupted one, bit for bit")


if __name__ == "__main__":
    main()
