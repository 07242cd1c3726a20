"""Peak memory of 1 and of 10 minutes of speech: a stream's memory does not grow with its length.

python benchmarks/memory.py [--minutes 1 10] [--model MODEL]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import portrait, recording, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10])
    parser.add_argument("--model", default="embedded")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = portrait(folder)
        for minutes in arguments.minutes:
            speech = recording(folder, 60 * minutes)
            command = ["animate", photo, speech, "-o", folder / "out.mp4", "--overwrite", "--quiet"]
            seconds, megabytes = run(*command, "--model", arguments.model)
            print(f"{minutes:g} minutes of speech: peak {megabytes:.0f} MB, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
