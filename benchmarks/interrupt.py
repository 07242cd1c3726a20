"""How `kptalk animate` ends at Ctrl-C and at SIGTERM, at many moments: exit code, words, seconds, and what is left.

python benchmarks/interrupt.py --count 40
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import portrait, recording
from rich.console import Console
from rich.table import Table

from kptalk.media.clip import probe

# Seconds of computing from the start
DELAYS = (0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 8)
LIMIT = 2.0  # seconds from the signal to the end


class Ending(NamedTuple):
    """How one run ended."""

    number: signal.Signals
    delay: float
    code: int
    seconds: float
    words: str
    left: list[str]
    playable: float | None  # seconds of the video that is left

    @property
    def good(self) -> bool:
        """Whether it ended in time, with one line and the right exit code, and left nothing but a playable video."""
        line = self.words.startswith("kptalk: stopped: ") and self.words.count("\n") == 1
        named = all(name in self.words for name in self.left)
        return self.code == 128 + self.number and line and named and self.seconds <= LIMIT


def _hear_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _computed(pid: int) -> float:
    """Seconds of processor time of a process, which unlike those of a clock do not depend on what else runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def interrupt(photo: Path, speech: Path, number: signal.Signals, delay: float) -> Ending:
    """Start the program, send it a signal, and look."""
    with tempfile.TemporaryDirectory(dir=photo.parent) as name:
        output = Path(name) / "out.mp4"
        argv = [sys.executable, "-m", "kptalk", "animate", photo, speech, "-o", output, "--size", "256"]
        # A shell without job control starts its programs with SIGINT ignored, and their children inherit that.
        running = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, preexec_fn=_hear_ctrl_c)
        while running.poll() is None and _computed(running.pid) < delay:
            time.sleep(0.005)
        sent = time.perf_counter()
        running.send_signal(number)
        _, words = running.communicate(timeout=60)
        seconds = time.perf_counter() - sent
        left = sorted(path.name for path in Path(name).iterdir())
        playable = float(probe(Path(name) / left[0]).duration or 0) if len(left) == 1 else None
    return Ending(number, delay, running.returncode, seconds, words, left, playable)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=40)
    count = parser.parse_args().count
    table = Table("signal", "computed s", "code", "ends in s", "words", "plays s", "ok", box=None)
    endings = []
    with tempfile.TemporaryDirectory() as name:
        photo, speech = portrait(Path(name)), recording(Path(name), 120)
        for k in range(count):
            number = (signal.SIGINT, signal.SIGTERM)[k % 2]
            ending = interrupt(photo, speech, number, DELAYS[k // 2 % len(DELAYS)])
            endings.append(ending)
            words = ending.words.strip().splitlines()
            table.add_row(
                number.name,
                f"{ending.delay:g}",
                str(ending.code),
                f"{ending.seconds:.2f}",
                words[-1].replace(name, "")[:70] if words else "",
                "" if ending.playable is None else f"{ending.playable:.1f}",
                "yes" if ending.good else "NO",
            )
    console = Console(width=160)
    console.print(table)
    seconds = [ending.seconds for ending in endings]
    good = sum(ending.good for ending in endings)
    console.print(f"{good} of {count} ended well; median {np.median(seconds):.2f} s, slowest {max(seconds):.2f} s")


if __name__ == "__main__":
    main()
