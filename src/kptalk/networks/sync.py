"""A small network that embeds lips and sound in one space, in which they correlate if they belong together.

Two stacks of one-dimensional convolutions, after the two-stream networks of Chung and Zisserman ("Out of time", ACCV-W
2016), but on FaceMesh landmarks instead of pixels and on a whole clip at once: one reads the shape of the lips at
25 Hz, the other a mel spectrogram at 100 Hz. ``kptalk.train.sync`` trains it. It shares no weights with what generates
motion, or it would favour our own videos.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

N_MELS = 80
N_LIPS = 68  # numbers of a lip shape, see ``kptalk.face.measures``
N_POINTS = 44  # landmarks that hardly move with the expression
SEARCH = 15  # frames to either side in which offsets are looked for, as in SyncNet's evaluation
_MIN_POWER = 1e-3  # of an embedding: far below that of any movement and far above that of rounding


@dataclass(frozen=True)
class SyncConfig:
    """Channels of the sound's and the lips' convolutions and of the common space; dropout rate."""

    sound_width: int = 96
    lips_width: int = 64
    channels: int = 32
    dropout: float = 0.3


class SyncModel(nn.Module):
    """Lips and sound to embeddings at 25 Hz; ``held_points`` (44, 3) are the mean face's stable points."""

    held_points: Tensor

    def __init__(self, config: SyncConfig | None = None) -> None:
        super().__init__()
        self.config = config or SyncConfig()
        sound, lips, drop = self.config.sound_width, self.config.lips_width, self.config.dropout
        self.register_buffer("held_points", torch.zeros(N_POINTS, 3))
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
        return x + self.drop(F.gelu(self.conv(x)))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv1d:
    # Ends repeat: zeros there would look like movement, in lips and sound at once.
    padding = kernel // 2 * dilation
    return nn.Conv1d(inputs, outputs, kernel, stride, padding, dilation, padding_mode="replicate")


def lag_correlations(lips: Tensor, sound: Tensor, seen: Tensor, search: int = SEARCH) -> Tensor:
    """Correlation of two embeddings for every lag.

    Args:
        lips, sound: (B, C, T); all channels count as one signal, each about its own mean.
        seen: (B, 1, T) 1 where the lips were seen, 0 elsewhere.
        search: largest lag.

    Returns:
        (B, 2 search + 1), from -1 to 1: element ``search + k`` compares frame t of the lips with frame t + k of the
        sound, so the peak is at k > 0 if the sound comes later. 0 if one of the two does not move.
    """
    length = lips.shape[-1]
    lips = (lips - (lips * seen).sum(-1, keepdim=True) / seen.sum(-1, keepdim=True)) * seen
    sound = sound - sound.mean(-1, keepdim=True)
    values = []
    for lag in range(-search, search + 1):
        first, last = max(0, -lag), length - max(0, lag)
        a, b = lips[..., first:last], sound[..., first + lag : last + lag] * seen[..., first:last]
        power = (a.square().sum((1, 2)) + _MIN_POWER) * (b.square().sum((1, 2)) + _MIN_POWER)
        values.append((a * b).sum((1, 2)) / power.sqrt())
    return torch.stack(values, 1)
