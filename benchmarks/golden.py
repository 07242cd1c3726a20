"""Digests of the frames of six fixed runs, to prove that a change of the code changes no pixel.

python benchmarks/golden.py --write     # before a change: remember the digests
python benchmarks/golden.py             # after it: exits with 1 and names the runs that differ

The digests hold for one machine and one set of library versions only, so they stay in .runs/golden.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from skimage.data import astronaut

from kptalk import Animation, Control, Options, Pipeline
from kptalk.options import ReenactOptions, RetargetOptions
from kptalk.types import Motion

ROOT = Path(__file__).resolve().parents[1]
SPEECH = ROOT / "examples/speech.mp3"
DIGESTS = ROOT / ".runs/golden.json"


def runs(video: Path) -> Iterator[tuple[str, Animation]]:
    """The six runs, by name."""
    pipeline, photo = Pipeline.from_pretrained("embedded"), astronaut()
    whole = pipeline.animate(photo, SPEECH)
    motion = Motion.concatenate(list(whole.motion()))
    yield "animate", whole
    yield "crop", pipeline.animate(photo, SPEECH, options=Options(seed=7, framing="crop", size=256))
    still = Control(pose="still", blinks=30, mouth_scale=0.8)
    yield "still", pipeline.animate(photo, SPEECH, options=Options(control=still))
    yield "29.97", pipeline.animate(photo, SPEECH, options=Options(seed=3, fps=Fraction(30000, 1001)))
    yield "reenact", pipeline.reenact(photo, video)
    render = ReenactOptions(retarget=RetargetOptions(mode="absolute", region="expression"))
    yield "render", pipeline.reenact(photo, motion, options=render)


def digest(animation: Animation) -> str:
    """SHA-256 of all frames."""
    sha = hashlib.sha256()
    for frames in animation.frames():
        sha.update(frames.tobytes())
    return sha.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="remember these digests")
    parser.add_argument("--video", type=Path, default=ROOT / "../shared/data/clips/train/grid_s1_1.mp4")
    arguments = parser.parse_args()
    found = {name: digest(animation) for name, animation in runs(arguments.video)}
    if arguments.write:
        DIGESTS.parent.mkdir(exist_ok=True)
        DIGESTS.write_text(json.dumps(found, indent=1))
        return
    known = json.loads(DIGESTS.read_text())
    for name, value in found.items():
        print(f"{name:8} {'same' if value == known.get(name) else 'CHANGED'} {value[:16]}")
    sys.exit(found != known)


if __name__ == "__main__":
    main()
