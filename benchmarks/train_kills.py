"""Kills ``kptalk train`` at random moments and compares what it ends with to an uninterrupted run, byte for byte.

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

from train_common import command, model_folder, run, start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, changes = random.Random(arguments.seed), (f"steps={arguments.steps}", "score_every=5", "score_steps=1")
    with TemporaryDirectory() as temporary:
        whole, broken = Path(temporary, "whole"), Path(temporary, "broken")
        began = time.monotonic()
        run(command(arguments.data, model_folder(whole), *changes))
        took = time.monotonic() - began
        print(f"uninterrupted: {took:.1f} s")
        kills, ends = 0, 0
        model_folder(broken, whole)
        while True:
            process = start(command(arguments.data, broken, *changes))
            if kills < arguments.kills:
                try:
                    process.wait(rng.uniform(0.1, 0.8) * took)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    kills += 1
                    continue
            if process.wait():
                raise SystemExit("training failed")
            ends += 1
            for name in ("motion.safetensors", "motion.log/last.safetensors"):
                if (whole / name).read_bytes() != (broken / name).read_bytes():
                    raise SystemExit(f"after {kills} kills {name} differs")
            print(f"{kills} kills so far: the same bytes")
            if kills >= arguments.kills:
                break
            shutil.rmtree(broken)
            model_folder(broken, whole)
        print(f"{kills} kills, {ends} trainings ended: all with the weights of the uninterrupted one, byte for byte")


if __name__ == "__main__":
    main()
