"""LivePortrait's motion extractor (ConvNeXt-V2-tiny): a face crop becomes canonical keypoints and their motion."""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

N_BINS = 66
BIN_DEGREES, BIN_OFFSET = 3.0, 97.5  # bin i stands for 3 i - 97.5 degrees
NORM_EPS = 1e-6


@dataclass(frozen=True)
class MotionExtractorConfig:
    """Architecture numbers; the defaults are LivePortrait's (28,118,728 parameters)."""

    keypoints: int = 21
    depths: tuple[int, int, int, int] = (3, 3, 9, 3)
    widths: tuple[int, int, int, int] = (96, 192, 384, 768)


class MotionHeads(NamedTuple):
    """Raw outputs."""

    pitch: Tensor  # (B, 66) logits of bins, as yaw and roll
    yaw: Tensor
    roll: Tensor
    translation: Tensor  # (B, 3)
    expression: Tensor  # (B, 63) x, y, z of each keypoint
    scale: Tensor  # (B, 1)
    canonical: Tensor  # (B, 63) likewise


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResponseNorm(nn.Module):
    """Global response normalisation of (B, H, W, C): a channel's energy against the mean over channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        energy = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        share = energy / (energy.mean(-1, keepdim=True) + NORM_EPS)
        return self.gamma * (x * share) + self.beta + x


class Block(nn.Module):
    """Depthwise 7 x 7 convolution, then two linear layers on every pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPS)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.grn = ResponseNorm(4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        h = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        h = self.pwconv2(self.grn(F.gelu(self.pwconv1(h))))
        return x + h.permute(0, 3, 1, 2)


class Detector(nn.Module):
    """The backbone and its seven heads."""

    def __init__(self, config: MotionExtractorConfig) -> None:
        super().__init__()
        widths, last = config.widths, config.widths[-1]
        self.downsample_layers = nn.ModuleList([nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), ChannelNorm(widths[0]))])
        for a, b in pairwise(widths):
            self.downsample_layers.append(nn.Sequential(ChannelNorm(a), nn.Conv2d(a, b, 2, 2)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(depth)))
            for width, depth in zip(widths, config.depths, strict=True)
        )
        self.norm = nn.LayerNorm(last, eps=NORM_EPS)
        self.fc_kp = nn.Linear(last, 3 * config.keypoints)
        self.fc_scale = nn.Linear(last, 1)
        self.fc_pitch, self.fc_yaw, self.fc_roll = (nn.Linear(last, N_BINS) for _ in range(3))
        self.fc_t = nn.Linear(last, 3)
        self.fc_exp = nn.Linear(last, 3 * config.keypoints)

    def forward(self, image: Tensor) -> MotionHeads:
        """(B, 3, 256, 256) -> heads."""
        x = image
        for down, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(down(x))
        x = self.norm(x.mean((2, 3)))
        heads = self.fc_pitch, self.fc_yaw, self.fc_roll, self.fc_t, self.fc_exp, self.fc_scale, self.fc_kp
        return MotionHeads(*(head(x) for head in heads))


class MotionExtractor(nn.Module):
    """Parameter names are those of ``motion_extractor.pth``."""

    def __init__(self, config: MotionExtractorConfig | None = None) -> None:
        super().__init__()
        self.config = config or MotionExtractorConfig()
        self.detector = Detector(self.config)

    def forward(self, image: Tensor) -> MotionHeads:
        """(B, 3, 256, 256) float32 RGB from 0 to 1, without further normalisation -> raw heads."""
        return self.detector(image)


def bins_to_degrees(logits: Tensor) -> Tensor:
    """Expected angle of a distribution over bins: (B, 66) logits -> (B, 1) degrees, from -97.5 to 97.5.

    (Hopenet, where the bins come from, has 99 in place of 97.5.)
    """
    bins = torch.arange(N_BINS, dtype=logits.dtype, device=logits.device)
    return (torch.softmax(logits, 1) @ bins)[:, None] * BIN_DEGREES - BIN_OFFSET
