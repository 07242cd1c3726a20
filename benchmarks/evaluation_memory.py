"""Peak memory of evaluating videos of 1 and of 10 minutes: what is measured is a stream too.

    python benchmarks/evaluation_memory.py [--minutes 1 10] [--clip VIDEO]

The real video is one clip, repeated; the generated one is the same with some noise. Metrics whose weights have been
pulled take part.
"""

from __future__ import annotations

import argparse
import tempfile
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from common import run

from kptalk import Speech
from kptalk.media.clip import read_frames
from kptalk.media.encoder import VideoWriter
from kptalk.media.sink import FileSink

CLIP = Path(__file__).resolve().parents[2] / "shared/data/clips/val/aoc_1.mp4"
FPS = Fraction(25)


def film(path: Path, clip: Path, minutes: float, noise: float) -> None:
    """A clip repeated to a length, forwards and backwards, with grey noise."""
    frames = list(read_frames(clip, FPS))
    frames += frames[::-1]
    rng = np.random.default_rng(0)
    sound = np.concatenate(list(Speech.open(clip).chunks()))
    speech = Speech.from_samples(np.resize(sound, round(minutes * 60 * 16_000)), 16_000)
    height, width = frames[0].shape[:2]
    with VideoWriter(FileSink(path), FPS, (width, height), speech) as writer:
        for frame in islice(cycle(frames), round(minutes * 60 * FPS)):
            spoilt = frame + rng.normal(0, noise, (height, width, 1)) if noise else frame
            writer.write(np.clip(spoilt, 0, 255).astype(np.uint8)[None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10])
    parser.add_argument("--clip", type=Path, default=CLIP)
    arguments = parser.parse_args()
    for minutes in arguments.minutes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for kind, noise in (("real", 0), ("noisy", 8)):
                (folder / kind).mkdir()
                film(folder / kind / "clip.mp4", arguments.clip, minutes, noise)
            command = ["evaluate", "--real", folder / "real", "--generated", folder / "noisy", "-o", folder / "report"]
            seconds, megabytes = run(*command, "--quiet")
            print(f"{minutes:g} minutes of video: peak {megabytes:.0f} MB, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
