"""Two processes (gloo, CPU) against one process with the doubled batch: the same sequences, weights within rounding.

python benchmarks/train_processes.py DATASET [--steps 50]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from train_common import command, difference, model_folder, run

BATCH = 4  # of each process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    changes = (f"steps={arguments.steps}", f"score_every={arguments.steps}", f"batch={2 * BATCH}")
    with TemporaryDirectory() as temporary:
        one, two = Path(temporary, "one"), Path(temporary, "two")
        for folder, processes in ((one, 1), (two, 2)):
            began = time.monotonic()
            known = None if folder == one else one
            run(command(arguments.data, model_folder(folder, known), *changes, processes=processes))
            print(f"{processes} process(es) with batch {2 * BATCH // processes} each: {time.monotonic() - began:.1f} s")
        print(f"largest difference of any weight after {arguments.steps} steps: {difference(one, two):.2g}")


if __name__ == "__main__":
    main()
