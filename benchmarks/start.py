"""How soon and how fast: the help, 8 and 60 s of speech to a finished file, a warm pipeline's first frame.

python benchmarks/start.py [--before CHECKOUT] [--runs 7]

With another checkout, for example the commit before a change (``git worktree add ../before COMMIT``), every run of this
one is followed by one of that, so that both meet the same machine. Medians of seconds of wall-clock and processor time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from common import ROOT, portrait, recording

FIRST_FRAME = """
import os, sys, time
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the program has it
from kptalk import Pipeline
from kptalk.device import set_threads
set_threads()
pipeline = Pipeline.from_pretrained()
from kptalk.face.find import find_portrait
from kptalk.media.image import read_image
portrait = find_portrait(read_image(sys.argv[1]))
getattr(pipeline, "warm_up", lambda: None)()
wall, cpu = time.perf_counter(), time.process_time()
next(pipeline.stream(portrait, sys.argv[2]))
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


class Spent(NamedTuple):
    """Seconds of wall-clock and of processor time."""

    wall: float
    cpu: float


def python_of(checkout: Path) -> str:
    """The checkout's own Python, as ``make`` sets it up there, else the one that runs this."""
    own = checkout / ".venv/bin/python"
    return str(own) if own.exists() else sys.executable


def command(checkout: Path, *arguments: str | Path) -> Spent:
    """A run of ``kptalk`` in a process of its own."""
    started = time.perf_counter()
    line = [python_of(checkout), "-m", "kptalk", *map(str, arguments)]
    child = subprocess.Popen(line, env=environment(checkout), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(line)} failed with status {status}")
    return Spent(time.perf_counter() - started, usage.ru_utime + usage.ru_stime)


def first_frame(checkout: Path, *arguments: str | Path) -> Spent:
    """From ``Pipeline.stream`` to its first frame, models loaded and warm, portrait found."""
    line = [python_of(checkout), "-c", FIRST_FRAME, *map(str, arguments)]
    run = subprocess.run(line, env=environment(checkout), capture_output=True, text=True, check=True)
    return Spent(*map(float, run.stdout.split()))


def environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout / "src")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout to compare with")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=("help", "8s", "60s", "frame"), help="not all of them")
    arguments = parser.parse_args()
    checkouts = {"now": ROOT} | ({"before": arguments.before.resolve()} if arguments.before else {})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo, short, long = portrait(folder), recording(folder, 8), recording(folder, 60)
        video = ["-o", folder / "out.mp4", "--overwrite", "--quiet"]
        measured = {
            "help": ("kptalk --help", command, ["--help"]),
            "8s": ("8 s of speech to a file", command, ["animate", photo, short, *video]),
            "60s": ("60 s of speech to a file", command, ["animate", photo, long, *video]),
            "frame": ("first frame, warm", first_frame, [photo, short]),
        }
        for key in arguments.only or measured:
            title, measure, inputs = measured[key]
            runs: dict[str, list[Spent]] = {which: [] for which in checkouts}
            for _ in range(arguments.runs):
                for which, checkout in checkouts.items():
                    runs[which].append(measure(checkout, *inputs))
            middle = {which: Spent(*map(median, zip(*spent, strict=True))) for which, spent in runs.items()}
            line = ", ".join(f"{which} {spent.wall:.2f} s (cpu {spent.cpu:.2f})" for which, spent in middle.items())
            if "before" in middle:
                now, before = middle["now"], middle["before"]
                line += f": {now.wall / before.wall:.2f} of the time before (cpu {now.cpu / before.cpu:.2f})"
            print(f"{title}, 512x512: {line}" if key != "help" else f"{title}: {line}", flush=True)


if __name__ == "__main__":
    main()
