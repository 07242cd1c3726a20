"""Auxiliary speech-to-lips network: mel windows to the expression that usually goes with them.

The denoiser sees the sound through one window per frame; this small network sees the spectrogram as one image, so it
learns other things from the same half hour of speech, and the mean of the two is nearer to the real lips than either.
It is not part of KDTalker: weights without it work as in the paper.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CENTRE = slice(6, 10)  # of a window's 16 mel frames: these four, of consecutive video frames, form one image


@dataclass(frozen=True)
class LipEnsembleConfig:
    """Architecture numbers."""

    members: int = 3  # encoders that start from other weights; their mean is nearer to the truth than each
    channels: tuple[int, int, int, int] = (24, 48, 96, 128)  # of the 2-D convolutions, which halve the bands each
    width: int = 128  # of what follows, one vector a video frame
    dilations: tuple[int, ...] = (1, 2, 4)  # of the 1-D convolutions over video frames: 14 frames to either side
    dropout: float = 0.3
    mel_bands: int = 80
    outputs: int = 63  # 21 keypoints x 3


class LipEncoder(nn.Module):
    """Mel windows of consecutive video frames to whitened expression tokens."""

    def __init__(self, config: LipEnsembleConfig) -> None:
        super().__init__()
        a, b, c, d = config.channels
        self.picture = nn.Sequential(
            *_convolution(1, a, (5, 5), (2, 1)),
            *_convolution(a, b, (3, 5), (2, 2)),
            *_convolution(b, c, (3, 3), (2, 2)),
            *_convolution(c, d, (3, 3), (2, 1)),
        )
        self.project = nn.Linear(config.mel_bands // 16 * d, config.width)
        self.context = nn.ModuleList(
            nn.Conv1d(config.width, config.width, 5, padding=2 * dilation, dilation=dilation)
            for dilation in config.dilations
        )
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(config.width, config.outputs)

    def forward(self, windows: Tensor) -> Tensor:
        """(B, T, 80, 16) -> (B, T, 63)."""
        image = windows[..., CENTRE].transpose(1, 2).flatten(2)[:, None]  # (B, 1, 80, 4 T)
        x = self.picture(image).flatten(1, 2).transpose(1, 2)  # (B, T, 5 d)
        x = self.dropout(F.gelu(self.project(self.dropout(x)))).transpose(1, 2)
        for layer in self.context:
            x = x + self.dropout(F.gelu(layer(x)))
        return self.out(x.transpose(1, 2))


class LipEnsemble(nn.Module):
    """Mean of several encoders of the same sound."""

    def __init__(self, config: LipEnsembleConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LipEnsembleConfig()
        self.members = nn.ModuleList(LipEncoder(config) for _ in range(config.members))

    def forward(self, windows: Tensor) -> Tensor:
        """(B, T, 80, 16) float32 mean-normalised windows of consecutive video frames -> (B, T, 63) float32 whitened."""
        return torch.stack([member(windows) for member in self.members]).mean(0)


def _convolution(inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int]) -> list[nn.Module]:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs), nn.GELU()]
