"""Whether a ``kptalk prepare`` that is killed again and again ends with the bytes of one that was left alone.

    python benchmarks/prepare_kills.py VIDEOS... [--kills 20] [--jobs 2] [--seed 0]

Runs are killed with SIGKILL at random moments, every third time one worker alone and otherwise the whole group of
processes, and started again until the dataset is finished; then the next dataset begins, until all kills are used up.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory


def start(videos: list[Path], folder: Path, jobs: int) -> subprocess.Popen[bytes]:
    """A run in a session of its own."""
    command = [sys.executable, "-m", "kptalk", "prepare", *map(str, videos), "-o", str(folder), "--jobs", str(jobs)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, hidden ones too."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def one_worker(parent: int) -> int | None:
    """A process of the run's that is not the first: the youngest child."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False)
    children = [int(pid) for pid in listed.stdout.split()]
    return children[-1] if len(children) > 1 else None  # the first is Python's tracker of resources


def disturbed(videos: list[Path], folder: Path, jobs: int, kills: int, longest: float, rng: random.Random) -> int:
    """Run until the dataset is finished, with up to ``kills`` kills; how many there were."""
    done = 0
    while True:
        process = start(videos, folder, jobs)
        try:
            while done < kills:
                process.wait(rng.uniform(0.05, 1.0) * longest)
                break
            else:
                process.wait()
        except subprocess.TimeoutExpired:
            done += 1
            if done % 3 == 0 and (worker := one_worker(process.pid)) is not None:
                os.kill(worker, signal.SIGKILL)
                process.wait()
            else:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                continue
        if process.returncode:
            raise SystemExit(f"a run ended with code {process.returncode}")
        return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with TemporaryDirectory() as temporary:
        began = time.monotonic()
        alone = Path(temporary) / "dataset"
        if start(arguments.videos, alone, arguments.jobs).wait():
            raise SystemExit("the run that was left alone failed")
        longest, expected = time.monotonic() - began, digests(alone)
        alone.rename(alone.with_name("alone"))
        left, datasets = arguments.kills, 0
        while left > 0:
            left -= disturbed(arguments.videos, alone, arguments.jobs, left, longest, rng)
            if (found := digests(alone)) != expected:
                changed = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
                raise SystemExit(f"other bytes in {', '.join(changed)}")
            datasets += 1
            alone.rename(alone.with_name(f"done-{datasets}"))
    size = f"{len(expected)} files each, {longest:.0f} s when left alone"
    print(f"{arguments.kills - left} kills, {datasets} datasets of {size}: the same bytes")


if __name__ == "__main__":
    main()
