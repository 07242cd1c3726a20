"""Lip sync on people that training never saw: each val clip's first frame as portrait, its own sound, FaceMesh judges.

    python benchmarks/sync.py [--weights DIR] [--clips DIR] [--sheet OUT.png]

Prints, for every clip and in the mean with a bootstrap interval over clips: the Pearson correlation of the inner-lip
opening in the generated and in the real video at lag 0, the best lag, the ratio of their spreads, the correlation of
the mouth's width, the same correlation when another clip's sound is used, and the landmark jerk at window joins
against inside windows. All of it is measured on the pictures, not on the motion.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from kptalk import Options, Pipeline, Speech
from kptalk.evaluate.lips import best_lag, correlation
from kptalk.face.find import find_portrait
from kptalk.face.landmarks import FaceMesh
from kptalk.media import read_frames
from kptalk.motion.generate import FPS, HELD, LENGTH, LOOKAHEAD

CLIPS = Path(__file__).resolve().parents[2] / "shared/data/clips/val"
SHORTEST = 75  # frames; shorter clips say little about a correlation
STRIDE = LENGTH - LOOKAHEAD - HELD

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Track:
    """What FaceMesh sees in a video: landmarks (T, 478, 3) over the face's height, and which frames had a face."""

    landmarks: Floats
    seen: NDArray[np.bool_]

    @property
    def opening(self) -> Floats:
        return np.asarray(np.linalg.norm(self.landmarks[:, 13, :2] - self.landmarks[:, 14, :2], axis=-1))

    @property
    def width(self) -> Floats:
        return np.asarray(np.linalg.norm(self.landmarks[:, 61, :2] - self.landmarks[:, 291, :2], axis=-1))


def track(frames: list[NDArray[np.uint8]]) -> Track:
    """Follow the face through a video."""
    landmarks, seen = [], []
    with FaceMesh(video=True) as mesh:
        for frame in frames:
            found = mesh(frame)
            seen.append(bool(found))
            landmarks.append(found[0].landmarks if found else np.full((478, 3), np.nan, np.float32))
    points = np.stack(landmarks)
    height = np.linalg.norm(points[:, 10] - points[:, 152], axis=-1)
    return Track(points / np.nanmean(height), np.array(seen))


def jerk_at_joins(landmarks: Floats) -> tuple[float, float]:
    """95th percentile of the landmarks' third difference at window joins and inside windows, in face heights."""
    jerk = np.linalg.norm(np.diff(landmarks[:, ::8, :2], n=3, axis=0), axis=-1).mean(1)
    frames = np.arange(len(jerk)) + 2
    joins = np.array([LENGTH - LOOKAHEAD + k * STRIDE for k in range(len(landmarks) // STRIDE + 1)])
    near = np.abs(frames[:, None] - joins).min(1) <= 2
    inside = float(np.nanpercentile(jerk[~near], 95))
    return (float(np.nanpercentile(jerk[near], 95)) if near.any() else np.nan), inside


def interval(values: Floats, seed: int = 0) -> str:
    """Mean and its 95 % bootstrap interval over clips."""
    values = values[np.isfinite(values)]
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (2000, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="embedded")
    parser.add_argument("--clips", type=Path, default=CLIPS)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    pipeline = Pipeline.from_pretrained(arguments.weights)
    options = Options(steps=arguments.steps, seed=arguments.seed)
    clips = {path: list(read_frames(path, FPS)) for path in sorted(arguments.clips.glob("*.mp4"))}
    clips = {path: frames for path, frames in clips.items() if len(frames) >= SHORTEST}
    names = list(clips)
    table = Table("clip", "r", "lag", "spread", "r width", "r other sound", "jerk joins", "jerk inside", "unseen")
    rows = []
    for number, (path, frames) in enumerate(clips.items()):
        other = names[(number + len(names) // 2) % len(names)]
        portrait = find_portrait(frames[0])
        real = track(frames)
        generated = track(list(pipeline.stream(portrait, Speech.open(path), options=options)))
        foreign = track(list(pipeline.stream(portrait, Speech.open(other), options=options)))
        n = min(len(frames), len(generated.seen))
        m = min(len(frames), len(foreign.seen))
        spread = np.nanstd(generated.opening) / np.nanstd(real.opening)
        row = [
            correlation(generated.opening[:n], real.opening[:n]),
            best_lag(generated.opening[:n], real.opening[:n]),
            spread,
            correlation(generated.width[:n], real.width[:n]),
            correlation(foreign.opening[:m], real.opening[:m]),
            *jerk_at_joins(generated.landmarks),
            float((~generated.seen).sum()),
        ]
        rows.append(row)
        table.add_row(path.stem, *(f"{value:.3g}" if i == 1 else f"{value:.4f}" for i, value in enumerate(row)))
    values = np.array(rows)
    lags = values[:, 1]
    table.add_section()
    table.add_row("mean", *(interval(values[:, i]) for i in range(values.shape[1])))
    console = Console(width=200)
    console.print(table)
    console.print(f"best lag within one frame on {np.mean(np.abs(lags) <= 1):.0%} of {len(lags)} clips")


if __name__ == "__main__":
    main()
