"""A second reader of the speech, for the mouth alone: mel windows to the face that usually goes with them.

The denoiser sees the sound through one window a frame; this small net sees the spectrogram as one picture, so that it
learns other things from the same half hour of speech, and the mean of the two is nearer to the real lips than either.
It is no part of KDTalker: weights without it work as the paper has them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.audio.mel import N_MELS

CENTRE = slice(6, 10)  # of a window's 16 mel frames: these four, of one video frame after the other, are the picture
N_EXPRESSION = 63


@dataclass(frozen=True)
class LipNetConfig:
    """Architecture numbers."""

    channels: tuple[int, int, int, int] = (24, 48, 96, 128)  # of the 2-D convolutions, which halve the bands each
    width: int = 128  # of what follows, one vector a video frame
    dilations: tuple[int, ...] = (1, 2, 4)  # of the 1-D convolutions over video frames: 14 frames to either side
    dropout: float = 0.3


class LipNet(nn.Module):
    """Mel windows of consecutive video frames, level-normalised, to expression tokens."""

    def __init__(self, config: LipNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LipNetConfig()
        a, b, c, d = config.channels
        self.picture = nn.Sequential(
            *_convolution(1, a, (5, 5), (2, 1)),
            *_convolution(a, b, (3, 5), (2, 2)),
            *_convolution(b, c, (3, 3), (2, 2)),
            *_convolution(c, d, (3, 3), (2, 1)),
        )
        self.project = nn.Linear(N_MELS // 16 * d, config.width)
        self.context = nn.ModuleList(
            nn.Conv1d(config.width, config.width, 5, padding=2 * dilation, dilation=dilation)
            for dilation in config.dilations
        )
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(config.width, N_EXPRESSION)

    def forward(self, windows: Tensor) -> Tensor:
        """(B, T, 80, 16) float32 -> (B, T, 63) float32, whitened expression tokens."""
        picture = windows[..., CENTRE].transpose(1, 2).flatten(2)[:, None]  # (B, 1, 80, 4 T)
        x = self.picture(picture).flatten(1, 2).transpose(1, 2)  # (B, T, 5 d)
        x = self.dropout(F.gelu(self.project(self.dropout(x)))).transpose(1, 2)
        for layer in self.context:
            x = x + self.dropout(F.gelu(layer(x)))
        out: Tensor = self.out(x.transpose(1, 2))
        return out


def _convolution(inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int]) -> list[nn.Module]:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs), nn.GELU()]
