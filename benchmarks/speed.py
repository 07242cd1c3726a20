"""From an 8 s recording to the finished file: seconds with Python's start and all models, and frames/s drawn.

python benchmarks/speed.py [--runs N] [--model MODEL]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from common import portrait, recording, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", default="embedded")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo, speech = portrait(folder), recording(folder, 8)
        for framing in ("full", "crop"):
            command = ["animate", photo, speech, "-o", folder / "out.mp4", "--overwrite", "--framing", framing]
            seconds = [run(*command, "--model", arguments.model)[0] for _ in range(arguments.runs)]
            print(f"8 s of speech, 512x512 {framing}: median {statistics.median(seconds):.1f} s, all {seconds}")


if __name__ == "__main__":
    main()
