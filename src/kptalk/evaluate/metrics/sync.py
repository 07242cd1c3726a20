"""Lip sync without official weights: AV offset and in-sync correlation by the embedded sync model.

What is compared is how the lips' shape moves with how the sound moves, both read by ``sync_model``. The generated video
is compared with its own audio; the real video beside it is not needed.
"""

from typing import NamedTuple

import numpy as np
import torch

from kptalk.audio.sync_mel import sound_frames
from kptalk.evaluate.metric import FPS, RATE, AudioPair, FrameSample, NetworkMetric, specs
from kptalk.face.measures import lip_shape
from kptalk.networks.sync import N_LIPS, SEARCH, SyncConfig, SyncModel, lag_correlations
from kptalk.types import Array
from kptalk.weights.header import embedded_path

MIN_FRAMES = 50  # frames with a face: two seconds; of less, a lag cannot be told
STILL = 1e-4  # largest correlation of lips or a sound that do not move


class AvOffset(NamedTuple):
    """How lips and audio of one clip lie to each other.

    ``offset`` counts as SyncNet's AV offset does (``SyncScore.offset``): frames at 25 fps by which the lips come later
    than the audio, < 0: earlier; NaN where nothing moves. ``correlation`` of the two at offset 0, -1 to 1. ``curve``
    (31,) the correlation at offsets of -15 to 15 frames.
    """

    offset: float
    correlation: float
    curve: Array


@torch.inference_mode()
def av_offset(model: SyncModel, lips: Array, sound: Array) -> AvOffset | None:
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
    if seen.sum() < MIN_FRAMES:
        return None
    mel = sound_frames(sound[: count * RATE // int(FPS)], count)
    shape = torch.from_numpy(fill_gaps(lips) - lips[seen].mean(0))
    lip_track, audio_track = model(shape[None], torch.from_numpy(mel)[None])
    # Its lags count the frames by which the audio comes later.
    curve: Array = lag_correlations(lip_track, audio_track, torch.from_numpy(seen).float()[None, None])[0].numpy()
    curve = curve[::-1]
    offset = float(curve.argmax() - SEARCH) if np.abs(curve).max() > STILL else np.nan
    return AvOffset(offset, float(curve[SEARCH]), curve)


def fill_gaps(lips: Array) -> Array:
    """Lip shapes (T, 68) with frames without a face, which hold NaN, interpolated from those before and after."""
    seen, frames = np.isfinite(lips).all(1), np.arange(len(lips))
    columns = [np.interp(frames, frames[seen], column[seen]) for column in lips.T]
    return np.stack(columns, 1).astype(np.float32)


class SyncMetric(NetworkMetric):
    """AV offset and in-sync correlation of lips and audio; NaN for less than two seconds with a face.

    Keeps 68 numbers a frame.
    """

    network, classes, find = "sync", (SyncModel, SyncConfig), staticmethod(embedded_path)
    columns = specs("av_offset", "sync_r")

    def reset(self) -> None:
        self._lips: list[Array] = []

    def update(self, generated: FrameSample, real: FrameSample) -> None:
        if generated.mesh is None:
            self._lips.append(np.full(N_LIPS, np.nan, np.float32))
        else:
            self._lips.append(lip_shape(generated.mesh[None], self._network.held_points.numpy())[0])

    def compute(self, audio: AudioPair) -> dict[str, float]:
        found = av_offset(self._network, np.reshape(self._lips, (-1, N_LIPS)).astype(np.float32), audio.generated)
        return self.no_result() if found is None else {"av_offset": found.offset, "sync_r": found.correlation}
