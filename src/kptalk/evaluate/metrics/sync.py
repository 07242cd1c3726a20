"""Lip sync without official weights: AV offset and in-sync correlation by the embedded sync model.

What is compared is how the lips' shape moves with how the sound moves, both read by ``sync_model``. The generated video
is judged against its own sound; the real video beside it is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from kptalk.audio.sync_mel import sound_frames
from kptalk.evaluate.metric import FPS, RATE, Column, Heard, Judge, Sight
from kptalk.face.lip_shape import lip_shape
from kptalk.files import sha256
from kptalk.networks.sync import N_LIPS, SEARCH, SyncConfig, SyncModel, lag_correlations
from kptalk.types import Array as Floats
from kptalk.weights.store import embedded_path, load_model

SHORTEST = 50  # frames with a face: two seconds; of less, a lag cannot be told
STILL = 1e-4  # largest correlation of lips or a sound that do not move


@dataclass(frozen=True)
class AvOffset:
    """How lips and sound of one clip lie to each other.

    ``offset`` frames at 25 fps: > 0, the sound comes later than the lips; NaN where nothing moves. ``correlation`` of
    the two at lag 0, -1 to 1. ``curve`` (31,) the correlation at -15 to 15 frames.
    """

    offset: float
    correlation: float
    curve: Floats


@torch.inference_mode()
def av_offset(model: SyncModel, lips: Floats, sound: Floats) -> AvOffset | None:
    """Estimate the AV offset of a clip, from -15 to 15 frames.

    Args:
        model: the sync model.
        lips: (T, 68) shapes at 25 fps, see ``lip_shape``; NaN in frames without a face.
        sound: (N,) float32 at 16 kHz; sound and pictures are compared as far as the shorter of them goes.

    Returns:
        None with less than 50 frames that show a face.
    """
    count = min(len(lips), int(len(sound) * FPS / RATE))
    lips = lips[:count]
    seen = np.isfinite(lips).all(1)
    if seen.sum() < SHORTEST:
        return None
    mel = sound_frames(sound[: count * RATE // int(FPS)], count)
    shape = torch.from_numpy(fill_gaps(lips) - lips[seen].mean(0))
    moved, heard = model(shape[None], torch.from_numpy(mel)[None])
    curve: Floats = lag_correlations(moved, heard, torch.from_numpy(seen.astype(np.float32))[None, None])[0].numpy()
    offset = float(curve.argmax() - SEARCH) if np.abs(curve).max() > STILL else np.nan
    return AvOffset(offset, float(curve[SEARCH]), curve)


def fill_gaps(lips: Floats) -> Floats:
    """Lip shapes (T, 68) with frames without a face, which hold NaN, interpolated from those before and after."""
    seen, frames = np.isfinite(lips).all(1), np.arange(len(lips))
    columns = [np.interp(frames, frames[seen], column[seen]) for column in lips.T]
    return np.stack(columns, 1).astype(np.float32)


class SyncJudge(Judge):
    """AV offset and in-sync correlation of lips and sound."""

    columns = (
        Column(
            "av_offset",
            "AV offset (embedded)",
            "frames",
            "real",
            "by which the lips come later than the sound; best of -15 to 15 by kptalk's own sync model",
        ),
        Column(
            "sync_r",
            "sync r (embedded)",
            "",
            "higher",
            "correlation of lips and sound at lag 0 in the embedding of kptalk's own sync model",
        ),
    )

    def __init__(self) -> None:
        """Load the embedded sync model.

        Raises:
            WeightsError: the installation lacks it, or it is damaged.
        """
        self._path = embedded_path("sync")
        self._model = load_model(self._path, SyncModel, SyncConfig)

    def start(self) -> SyncMeter:
        """A meter for the next clip."""
        return SyncMeter(self._model)

    def weights(self) -> Mapping[str, str]:
        """sha256 of the embedded sync model."""
        return {"sync": sha256(self._path)}


class SyncMeter:
    """Keeps 68 numbers a frame."""

    def __init__(self, model: SyncModel) -> None:
        self._model = model
        self._held_points: Floats = model.held_points.numpy()
        self._lips: list[Floats] = []

    def add(self, generated: Sight, real: Sight) -> None:
        """Look at the next frame of the generated video."""
        if generated.mesh is None:
            self._lips.append(np.full(N_LIPS, np.nan, np.float32))
        else:
            self._lips.append(lip_shape(generated.mesh[None], self._held_points)[0])

    def result(self, heard: Heard) -> Mapping[str, float]:
        """AV offset and in-sync correlation; NaN for less than two seconds with a face."""
        lips = np.stack(self._lips) if self._lips else np.zeros((0, N_LIPS), np.float32)
        found = av_offset(self._model, lips, heard.generated)
        if found is None:
            return {"av_offset": np.nan, "sync_r": np.nan}
        # In reports every lag counts the frames by which the lips come late.
        return {"av_offset": 0.0 - found.offset, "sync_r": found.correlation}
