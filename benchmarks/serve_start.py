"""How soon a video plays in the browser: from the request to the first frame that is presented, and whether it stalls.

python benchmarks/serve_start.py [--runs 7] [--seconds 60] [--size 512]

A server in a process of its own, models warm, the photo chosen before; headless Chromium with the page. The time is
that between the page's sending the speech and the browser's presenting the first frame (requestVideoFrameCallback). All
runs but the last are cancelled then; the last one plays to its end, and its stalls are counted.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

from browsing import STATUS, page
from common import portrait, recording
from serving import Running

TIMES = "const m = kptalk.marks; return m.frame && [m.bytes - m.sent, m.frame - m.sent]"


def main() -> None:
    """Print the times of all runs and their median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--size", type=int, default=512)
    arguments = parser.parse_args()
    times = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo, speech = portrait(folder), recording(folder, arguments.seconds)
        server = Running(folder / "served")
        try:
            with page(server.address) as visitor:
                for run in range(arguments.runs):
                    visitor.open()
                    visitor.give(photo, speech)
                    visitor.script("document.getElementById('size').value = arguments[0]", str(arguments.size))
                    visitor.make()
                    first_bytes, first_frame = (each / 1000 for each in visitor.wait(TIMES))
                    times.append(first_frame)
                    print(
                        f"run {run + 1}: first bytes {first_bytes:.2f} s, first frame {first_frame:.2f} s", flush=True
                    )
                    if run + 1 < arguments.runs:
                        visitor.script("document.getElementById('cancel').click()")
                        visitor.wait(f"{STATUS} === 'Cancelled.'")
                visitor.wait("return document.getElementById('video').ended", 20 * arguments.seconds)
                stalls, job = visitor.script("return [kptalk.marks.pace.stalls, kptalk.job]")
        finally:
            server.stop()
    print(
        f"request to first frame, {arguments.seconds:g} s of speech: median {median(times):.2f} s of {len(times)} runs"
    )
    print(f"stalls to the end: {stalls}; made at {job['frames_per_second']} frames per second")


if __name__ == "__main__":
    main()
