"""LivePortrait's appearance extractor: a portrait becomes a feature volume, which is warped for every frame."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.networks.blocks import ConvBlock


@dataclass(frozen=True)
class AppearanceExtractorConfig:
    """Architecture numbers; the defaults are LivePortrait's (836,224 parameters)."""

    image_channels: int = 3
    width: int = 64  # channels after the first block; doubled by each of the others
    down_blocks: int = 2  # each halves height and width
    volume_channels: int = 32
    volume_depth: int = 16
    res_blocks: int = 6


class ResBlock3d(nn.Module):
    """Pre-activation residual block on a volume."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm3d(channels)
        self.norm2 = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, C, D, H, W)."""
        h = self.conv1(torch.relu(self.norm1(x)))
        return x + self.conv2(torch.relu(self.norm2(h)))


class AppearanceExtractor(nn.Module):
    """Parameter names are those of ``appearance_feature_extractor.pth``."""

    def __init__(self, config: AppearanceExtractorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AppearanceExtractorConfig()
        widths = [config.width * 2**i for i in range(config.down_blocks + 1)]
        volume = config.volume_channels
        self.first = ConvBlock(config.image_channels, widths[0])
        self.down_blocks = nn.ModuleList(ConvBlock(a, b) for a, b in pairwise(widths))
        self.second = nn.Conv2d(widths[-1], volume * config.volume_depth, 1)
        self.resblocks_3d = nn.Sequential()
        for i in range(config.res_blocks):
            self.resblocks_3d.add_module(f"3dr{i}", ResBlock3d(volume))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, 256, 256) float32 RGB from 0 to 1 -> feature volume (B, 32, 16, 64, 64) float32."""
        x = self.first(image)
        for block in self.down_blocks:
            x = F.avg_pool2d(block(x), 2)
        return self.resblocks_3d(self.second(x).unflatten(1, (self.config.volume_channels, self.config.volume_depth)))
