"""A small network that puts lips and sound into one space, where they correlate when they belong together.

Two stacks of one-dimensional convolutions, after the two-stream networks of Chung and Zisserman ("Out of time", ACCV-W
2016), but on FaceMesh landmarks instead of pixels and on a whole clip at once: one reads the shape of the lips at
25 Hz, the other a mel spectrogram at 100 Hz. ``kptalk.train.sync`` trains it. It shares no weights with what generates
motion, or it would favour our own videos.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from kptalk.audio.mean_norm import speech_weight
from kptalk.audio.mel import FRAME_RATE, N_MELS, mel_spectrogram
from kptalk.evaluate.metric import FPS
from kptalk.face.geometry import align
from kptalk.face.topology import LIPS_INNER, LIPS_OUTER, STABLE_POINTS, STABLE_WEIGHTS

Floats = NDArray[np.float32]

CHIN = 152
N_LIPS = 68  # (11 + 11 lip points) x 3 coordinates, and the chin's height and depth
STEPS = 4  # mel frames a video frame, after resampling to 100 Hz
SEARCH = 15  # frames to either side in which offsets are looked for, as in SyncNet's evaluation
_UNIT = 20.0  # per eye distance: makes the lips' movement about 1
_LEAST = 1e-3  # power of an embedding far under that of any movement and far over that of rounding
_RANGE = 3.0  # mel units about the clip's mean, beyond which everything is silence or noise


@dataclass(frozen=True)
class SyncConfig:
    """Channels of the sound's and the lips' convolutions and of the common space; share dropped while training."""

    sound_width: int = 96
    lips_width: int = 64
    channels: int = 32
    dropout: float = 0.3


class SyncModel(nn.Module):
    """Lips and sound to embeddings at 25 Hz; ``held_points`` (42, 3) are the mean face's steady points."""

    held_points: Tensor

    def __init__(self, config: SyncConfig | None = None) -> None:
        super().__init__()
        self.config = config or SyncConfig()
        sound, lips, drop = self.config.sound_width, self.config.lips_width, self.config.dropout
        self.register_buffer("held_points", torch.zeros(len(STABLE_POINTS), 3))
        self.sound = nn.Sequential(
            *(_conv(N_MELS, sound, 5), nn.GELU(), nn.Dropout(drop)),
            *(_conv(sound, sound, 5, stride=2), nn.GELU()),
            *(_conv(sound, sound, 5, stride=2), nn.GELU(), nn.Dropout(drop)),
            *(_Residual(sound, 1, drop), _Residual(sound, 2, drop)),
            _conv(sound, self.config.channels, 1),
        )
        self.lips = nn.Sequential(
            *(_conv(N_LIPS, lips, 5), nn.GELU(), nn.Dropout(drop)),
            *(_conv(lips, lips, 3), nn.GELU(), nn.Dropout(drop)),
            _conv(lips, self.config.channels, 1),
        )

    def forward(self, lips: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Lip shapes (B, T, 68) and mel frames (B, 4 T, 80), both about their clip's mean -> two times (B, C, T)."""
        return self.lips(lips.transpose(1, 2)), self.sound(sound.transpose(1, 2))


class _Residual(nn.Module):
    """(B, C, T) -> (B, C, T) with a context of 2 * dilation + 1."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.conv = _conv(width, width, 3, dilation=dilation)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.drop(F.gelu(self.conv(x)))
        return out


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv1d:
    # Ends repeat: zeros there would look like movement, in lips and sound at once.
    padding = kernel // 2 * dilation
    return nn.Conv1d(inputs, outputs, kernel, stride, padding, dilation, padding_mode="replicate")


def lip_shape(meshes: Floats, held_points: Floats) -> Floats:
    """Shape of lips and chin in the head's own frame.

    Left and right are averaged: speech moves both alike, tracking errors do not.

    Args:
        meshes: (T, 478, 3) FaceMesh landmarks in pixels.
        held_points: (42, 3) the mean face's ``STABLE_POINTS``, of any unit; the result is in 1/20 of it.

    Returns:
        (T, 68) float32.
    """
    scale, rotation, translation = align(
        meshes[:, STABLE_POINTS].astype(np.float64), held_points.astype(np.float64), STABLE_WEIGHTS
    )
    points = meshes[:, [*LIPS_INNER, *LIPS_OUTER, CHIN]] - translation[:, None]
    points = points @ np.swapaxes(rotation, -1, -2) / scale[:, None, None]
    # Both rings run from the left corner, 0, along the lower lip to the right one, 10, and back along the upper lip.
    left = np.array([0, 1, 2, 3, 4, 5, 15, 16, 17, 18, 19])
    halves = []
    for ring in (points[:, :20], points[:, 20:40]):
        mirrored = ring[:, (10 - left) % 20] * np.array([-1, 1, 1])
        halves.append((ring[:, left] + mirrored).reshape(len(points), -1) / 2)
    shape: Floats = (_UNIT * np.concatenate([*halves, points[:, 40, 1:]], 1)).astype(np.float32)
    return shape


def sound_frames(sound: Floats, count: int) -> Floats:
    """Mel frames (4 count, 80) at 100 Hz of a sound (N,) at 16 kHz; row 4 k belongs to the instant of video frame k."""
    return resample(level_free(mel_spectrogram(sound).T), np.arange(STEPS * count) / STEPS)


def level_free(mel: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Mel frames (M, 80) less their mean over the speech: the colour of voice, microphone and room goes."""
    weight = speech_weight(mel) + 1e-3  # so that silence has a mean
    return np.asarray(np.clip(mel - weight @ mel / weight.sum(), -_RANGE, _RANGE))


def resample(mel: NDArray[np.floating[Any]], frames: NDArray[Any]) -> Floats:
    """Mel frames (M, 80) at 80 Hz at the instants of video frames (n,), possibly fractional; the ends repeat."""
    place = np.clip(frames * (FRAME_RATE / float(FPS)), 0, len(mel) - 1)
    low = place.astype(int)
    share = (place - low)[:, None]
    between: Floats = (mel[low] * (1 - share) + mel[np.minimum(low + 1, len(mel) - 1)] * share).astype(np.float32)
    return between


def lag_correlations(lips: Tensor, sound: Tensor, seen: Tensor, search: int = SEARCH) -> Tensor:
    """Correlation of two embeddings for every lag.

    Args:
        lips, sound: (B, C, T); all channels count as one signal, each about its own mean.
        seen: (B, 1, T) 1 where the lips were seen, 0 elsewhere.
        search: largest lag.

    Returns:
        (B, 2 search + 1), from -1 to 1: element ``search + k`` compares frame t of the lips with frame t + k of the
        sound, so the peak is at k > 0 where the sound comes later. 0 where one of the two does not move.
    """
    length = lips.shape[-1]
    lips = (lips - (lips * seen).sum(-1, keepdim=True) / seen.sum(-1, keepdim=True)) * seen
    sound = sound - sound.mean(-1, keepdim=True)
    values = []
    for lag in range(-search, search + 1):
        first, last = max(0, -lag), length - max(0, lag)
        a, b = lips[..., first:last], sound[..., first + lag : last + lag] * seen[..., first:last]
        power = (a.square().sum((1, 2)) + _LEAST) * (b.square().sum((1, 2)) + _LEAST)
        values.append((a * b).sum((1, 2)) / power.sqrt())
    return torch.stack(values, 1)
