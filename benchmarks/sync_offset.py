"""How well the embedded sync model finds by how much the sound of a clip was moved, on people it never saw.

    python benchmarks/sync_offset.py [--clips DIR] [--dataset DIR] [--index INDEX.csv]

For every clip of 4 s or more and every shift from -10 to +10 frames, the lips are made to come later than the sound by
cutting the beginning of one of them, and the AV offset is estimated. Three ways to count an estimate as right, within
1 frame:

    absolute   it is the shift: right only if the clip's own offset is within 1 frame of zero too
    own lag    it is the shift plus the clip's own offset as the index has it (less ``sync_lag``, by another ridge)
    relative   it less the estimate at shift 0 is the shift: says that estimates move along, not that they are true

With a dataset, a ridge regression fitted on them gives the rows beside the model's.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from kptalk.audio.mel import mel_spectrogram
from kptalk.evaluate.metrics.sync import AvOffset, av_offset, fill_gaps
from kptalk.evaluate.sampling import read_audio, sample_frames
from kptalk.face.measures import lip_shape
from kptalk.networks.sync import SEARCH, SyncConfig, SyncModel
from kptalk.train.dataset import Dataset
from kptalk.train.sync import sync_clips
from kptalk.train.sync_ridge import RidgeFit, ridge_curve
from kptalk.weights.header import embedded_path
from kptalk.weights.store import load_model

DATA = Path(__file__).resolve().parents[2] / "shared/data"
SHORTEST = 100  # frames
SHIFTS = range(-10, 11)
WHAT = ("offset", "r own sound", "r other sound", "own beats other")
SAMPLES = 640  # of sound a video frame

Floats = NDArray[np.float32]
Estimate = Callable[[Floats, Floats], AvOffset]


@dataclass(frozen=True)
class Clip:
    """``lips`` (T, 68) with NaN where no face was seen, ``sound`` (640 T,), and by how much lips lag in the index."""

    name: str
    lips: Floats
    sound: Floats
    lag: int


def read_clips(folder: Path, index: Path, points: Floats) -> list[Clip]:
    """The clips of 4 s or more."""
    with index.open(newline="") as file:
        lags = {Path(row["file"]).name: int(row["sync_lag"]) for row in csv.DictReader(file) if row["sync_lag"]}
    clips = []
    for path in sorted(folder.glob("*.mp4")):
        meshes = [frame.mesh for frame in sample_frames(path, None)]
        sound = read_audio(path, len(meshes))
        if len(meshes) < SHORTEST or sound is None:
            continue
        nowhere = np.full((478, 3), np.nan, np.float32)
        seen = np.array([mesh is not None for mesh in meshes])
        lips = np.full((len(meshes), 68), np.nan, np.float32)
        lips[seen] = lip_shape(np.stack([nowhere if mesh is None else mesh for mesh in meshes])[seen], points)
        clips.append(Clip(path.stem, lips, sound, -lags[path.name]))
    return clips


def shifted(clip: Clip, shift: int) -> tuple[Floats, Floats]:
    """Lips and sound with the lips ``shift`` frames later, by cutting; nothing is filled in."""
    lips, sound = clip.lips[max(0, -shift) :], clip.sound[SAMPLES * max(0, shift) :]
    count = min(len(lips), len(sound) // SAMPLES)
    return lips[:count], sound[: SAMPLES * count]


def with_sound_of(clip: Clip, other: Clip) -> tuple[Floats, Floats]:
    """A clip's lips with another's sound, as far as both go."""
    count = min(len(clip.lips), len(other.lips))
    return clip.lips[:count], other.sound[: SAMPLES * count]


def ridge(dataset: Path, points: Floats) -> Estimate:
    """The ridge on all training clips."""
    clips = sync_clips(Dataset.open(dataset), points)
    fit = RidgeFit([clip.lips for clip in clips], [clip.mel for clip in clips], [clip.identity for clip in clips])
    weights = fit.weights()

    def estimate(lips: Floats, sound: Floats) -> AvOffset:
        # Its lags count the frames by which the sound comes later.
        curve = ridge_curve(weights, fill_gaps(lips), mel_spectrogram(sound).T.astype(np.float32))[::-1]
        return AvOffset(float(curve.argmax() - SEARCH), float(curve[SEARCH]), curve.astype(np.float32))

    return estimate


def share(errors: Floats) -> str:
    """How many of the errors are within a frame."""
    return f"{np.mean(np.abs(errors) <= 1):.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=DATA / "clips/val")
    parser.add_argument("--index", type=Path, default=DATA / "index.csv")
    parser.add_argument("--model", type=Path, default=None, help="a sync.safetensors instead of the embedded one")
    parser.add_argument("--dataset", type=Path, default=None, help="a dataset, for the ridge")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(arguments.model or embedded_path("sync"), SyncModel, SyncConfig)
    points: Floats = model.held_points.numpy()
    clips = read_clips(arguments.clips, arguments.index, points)
    estimates: dict[str, Estimate] = {"model": lambda lips, sound: av_offset(model, lips, sound)}
    if arguments.dataset:
        estimates["ridge"] = ridge(arguments.dataset, points)
    found = {
        name: np.array([[estimate(*shifted(clip, shift)).offset for shift in SHIFTS] for clip in clips])
        for name, estimate in estimates.items()
    }
    shifts, lags = np.array(SHIFTS), np.array([clip.lag for clip in clips])[:, None]
    console = Console(width=140)

    table = Table("shift", *(f"{name}: {kind}" for name in found for kind in ("absolute", "own lag", "relative")))
    errors = {
        name: (offset - shifts, offset - shifts - lags, offset - offset[:, [SHIFTS.index(0)]] - shifts)
        for name, offset in found.items()
    }
    for column, shift in enumerate(SHIFTS):
        table.add_row(f"{shift:+d}", *(share(kind[:, column]) for kinds in errors.values() for kind in kinds))
    table.add_section()
    table.add_row("all", *(share(kind) for kinds in errors.values() for kind in kinds))
    console.print(table)

    table = Table("clip", "seconds", "index lag", *(f"{name}: {what}" for name in found for what in WHAT))
    rows = []
    for number, clip in enumerate(clips):
        row = []
        for name, estimate in estimates.items():
            others = [other for other in clips if other.name[:6] != clip.name[:6]]
            strange = [estimate(*with_sound_of(clip, other)).correlation for other in others]
            own = estimate(clip.lips, clip.sound).correlation
            row += [found[name][number, SHIFTS.index(0)], own, np.mean(strange), np.mean(own > np.array(strange))]
        rows.append(row)
        table.add_row(
            clip.name, f"{len(clip.lips) / 25:.1f}", f"{clip.lag}", *(f"{value:.3g}" for value in np.round(row, 3))
        )
    table.add_section()
    table.add_row("mean", "", f"{lags.mean():.2f}", *(f"{value:.3g}" for value in np.mean(rows, 0)))
    console.print(table)
    console.print(f"index lag within 1 frame of zero: {int((np.abs(lags) <= 1).sum())} of {len(clips)} clips")


if __name__ == "__main__":
    main()
