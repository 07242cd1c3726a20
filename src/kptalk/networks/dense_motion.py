"""Dense motion: where in the source volume each cell of the driven volume comes from, and what is occluded.

For the background and each keypoint there is one candidate, a pure translation. A network sees the source volume warped
by every candidate and blends them.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.networks.blocks import ConvBlock

KEYPOINT_VARIANCE = 0.01  # of the Gaussian around a keypoint; the volume reaches from -1 to 1


@dataclass(frozen=True)
class DenseMotionConfig:
    """Architecture numbers of dense motion alone; the defaults are LivePortrait's."""

    keypoints: int = 21
    volume_channels: int = 32
    volume_depth: int = 16
    compressed: int = 4  # channels of the volume that the candidates warp
    width: int = 32
    max_width: int = 1024
    blocks: int = 5  # of the hourglass, each halves height and width

    def widths(self) -> list[int]:
        """Channels of the hourglass from outside to inside: its input, then after every encoder block."""
        inner = [min(self.max_width, self.width * 2 ** (i + 1)) for i in range(self.blocks)]
        return [(self.keypoints + 1) * (self.compressed + 1), *inner]

    @property
    def outputs(self) -> int:
        """Channels that leave the hourglass."""
        return self.width + self.widths()[0]


class DenseMotion(NamedTuple):
    """The result of ``DenseMotionNetwork``."""

    deformation: Tensor  # (B, D, H, W, 3) x, y, z in the source of each cell, -1 to 1
    occlusion: Tensor  # (B, 1, H, W) 0 to 1: 1 where the source shows what is needed
    mask: Tensor  # (B, 22, D, H, W) share of each candidate


class Encoder(nn.Module):
    """Every block halves height and width."""

    def __init__(self, config: DenseMotionConfig) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList(ConvBlock(a, b, 3) for a, b in pairwise(config.widths()))

    def forward(self, x: Tensor) -> list[Tensor]:
        """The input and the output of every block, (B, C, D, H, W) from fine to coarse."""
        out = [x]
        for block in self.down_blocks:
            out.append(F.avg_pool3d(block(out[-1]), (1, 2, 2)))
        return out


class Decoder(nn.Module):
    """Every block doubles height and width, and concatenates the encoder's features of that size."""

    def __init__(self, config: DenseMotionConfig) -> None:
        super().__init__()
        outputs = [min(config.max_width, config.width * 2**i) for i in reversed(range(config.blocks))]
        inputs = [config.widths()[-1], *(2 * width for width in outputs[:-1])]
        self.up_blocks = nn.ModuleList(ConvBlock(a, b, 3) for a, b in zip(inputs, outputs, strict=True))
        self.conv = nn.Conv3d(config.outputs, config.outputs, 3, padding=1)
        self.norm = nn.BatchNorm3d(config.outputs)

    def forward(self, encoded: list[Tensor]) -> Tensor:
        """(B, C, D, H, W) from fine to coarse -> (B, outputs, D, H, W) of the finest size."""
        *skips, out = encoded
        for block, skip in zip(self.up_blocks, reversed(skips), strict=True):
            out = torch.cat([block(F.interpolate(out, scale_factor=(1, 2, 2))), skip], 1)
        return torch.relu(self.norm(self.conv(out)))


class DenseMotionNetwork(nn.Module):
    """Parameter names are those under ``dense_motion_network.`` in ``warping_module.pth``."""

    def __init__(self, config: DenseMotionConfig) -> None:
        super().__init__()
        self.hourglass = nn.ModuleDict({"encoder": Encoder(config), "decoder": Decoder(config)})
        self.mask = nn.Conv3d(config.outputs, config.keypoints + 1, 7, padding=3)
        self.compress = nn.Conv3d(config.volume_channels, config.compressed, 1)
        self.norm = nn.BatchNorm3d(config.compressed)
        self.occlusion = nn.Conv2d(config.outputs * config.volume_depth, 1, 7, padding=3)

    def forward(self, volume: Tensor, driving: Tensor, source: Tensor) -> DenseMotion:
        """How the source volume moves.

        Args:
            volume: (B, 32, D, H, W) appearance of the source.
            driving: (B, 21, 3) keypoints x_d of the frame, x, y, z from -1 to 1.
            source: (B, 21, 3) keypoints x_s of the source.
        """
        motions = candidate_motions(driving, source, volume.shape[2:])
        inputs = candidate_inputs(self.compressed(volume), motions, driving, source)
        features = self.hourglass["decoder"](self.hourglass["encoder"](inputs))  # (B, 142, D, H, W)
        mask = torch.softmax(self.mask(features), 1)
        # Channel and depth together are the channels of an image.
        occlusion = torch.sigmoid(self.occlusion(features.flatten(1, 2)))
        return DenseMotion((motions * mask[..., None]).sum(1), occlusion, mask)

    def compressed(self, volume: Tensor) -> Tensor:
        """(B, 32, D, H, W) -> (B, 4, D, H, W), the volume that the candidates warp."""
        return torch.relu(self.norm(self.compress(volume)))


def coordinate_grid(size: torch.Size | tuple[int, ...], like: Tensor) -> Tensor:
    """(D, H, W, 3): x, y, z of each cell; the outermost cells' centres are at -1 and 1.

    ``grid_sample`` is called with align_corners=False, for which the outermost *edges* are at -1 and 1. The networks
    were trained with this mismatch.
    """
    depth, height, width = (torch.linspace(-1, 1, n, dtype=like.dtype, device=like.device) for n in size)
    z, y, x = torch.meshgrid(depth, height, width, indexing="ij")
    return torch.stack([x, y, z], -1)


def candidate_motions(driving: Tensor, source: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
    """(B, 22, D, H, W, 3): no motion, then the translation of each keypoint from driving back to source."""
    shift = F.pad(source - driving, (0, 0, 1, 0))  # a zero row in front: the background stays
    return coordinate_grid(size, driving) + shift[:, :, None, None, None]


def candidate_inputs(compressed: Tensor, motions: Tensor, driving: Tensor, source: Tensor) -> Tensor:
    """Input of the hourglass, (B, 22 * (1 + 4), D, H, W): of each candidate its heatmap and the warped volume."""
    batch, count = motions.shape[:2]
    size = compressed.shape[2:]
    repeated = compressed.repeat_interleave(count, 0)
    warped = F.grid_sample(repeated, motions.flatten(0, 1), align_corners=False).reshape(batch, count, -1, *size)
    heat = gaussians(driving, size) - gaussians(source, size)
    heat = F.pad(heat, (0, 0, 0, 0, 0, 0, 1, 0))  # none for the background
    return torch.cat([heat[:, :, None], warped], 2).flatten(1, 2)


def gaussians(keypoints: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
    """(B, K, 3) -> (B, K, D, H, W): a Gaussian of height 1 around each keypoint."""
    distance = ((coordinate_grid(size, keypoints) - keypoints[:, :, None, None, None]) ** 2).sum(-1)
    return torch.exp(-0.5 * distance / KEYPOINT_VARIANCE)
