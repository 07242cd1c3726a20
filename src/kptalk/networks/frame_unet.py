"""The U-Net that draws a face: pixels of a few frames at a time, from landmark maps, the warped photo and noise.

It predicts the clean frames as a change of the warped photo (x_0-prediction): a network this narrow cannot carry the
noise itself, as a prediction of epsilon or v would ask of it. Layers over frames look one frame to either side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.networks.noise_schedule import N_STEPS

GROUPS = 8  # of the normalisation
LARGEST = 1024  # side of the frames, in pixels


@dataclass(frozen=True)
class FrameUNetConfig:
    """Architecture numbers.

    Attributes:
        size: side of the frames, in pixels.
        conditions: channels of the condition.
        channels: of a frame.
        patch: side of the squares of pixels that are one position of the finest level.
        widths: channels of the levels, the finest first; each is half as fine as the one before.
        warp: whether it is given the warped photo of every frame, or the photo itself.
        temporal: whether there are layers over frames.
        audio_dim: numbers of sound per frame, for a network without landmarks; 0 for none.
    """

    size: int = 128
    conditions: int = 18
    channels: int = 3
    patch: int = 2
    widths: tuple[int, ...] = (40, 80, 144, 192)
    warp: bool = True
    temporal: bool = True
    audio_dim: int = 0

    def __post_init__(self) -> None:
        if self.size % (self.patch * 2 ** (len(self.widths) - 1)) or self.size > LARGEST:
            raise ValueError(f"a side of {self.size} does not divide into levels, or is above {LARGEST}")


class FrameUNet(nn.Module):
    """Frames x_t with their condition to what is added to the warped photo; (B, F, 3, S, S) in all."""

    context = 0  # frames on either side that the layers over frames look at

    def __init__(self, config: FrameUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or FrameUNetConfig()
        widths, squares = self.config.widths, self.config.patch**2
        dim = 4 * widths[0]
        self.step = nn.Sequential(nn.Linear(64, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.audio = nn.Linear(self.config.audio_dim, dim) if self.config.audio_dim else None
        inputs = (self.config.conditions + self.config.channels) * squares
        self.stem = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.down = nn.ModuleList(ResnetBlock(width, width, dim) for width in widths)
        self.lower = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))
        self.middle = ResnetBlock(widths[-1], widths[-1], dim)
        self.lift = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(ResnetBlock(2 * width, width, dim) for width in widths[:-1])
        mixed = widths[1:] if self.config.temporal else ()  # the finest level follows its own frame alone
        self.over_frames = nn.ModuleList(FrameMixing(width) for width in mixed)
        self.context = len(mixed)
        self.norm = nn.GroupNorm(GROUPS, widths[0])
        self.head = nn.Conv2d(widths[0], self.config.channels * squares, 3, padding=1)
        _zero(self.head)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor, audio: Tensor | None = None) -> Tensor:
        """Predict what is added to the warped photo.

        Args:
            x: (B, F, 3, S, S) noisy frames, -1 to 1 where clean.
            t: (B,) int64 steps, 0 to 999.
            condition: (B, F, C, S, S).
            audio: (B, F, A), where the network takes sound.

        Returns:
            (B, F, 3, S, S) float32.
        """
        frames = x.shape[1]
        modulation: Tensor = self.step(_sinusoidal(t))[:, None].expand(-1, frames, -1)
        if self.audio is not None and audio is not None:
            modulation = modulation + self.audio(audio)
        modulation = F.silu(modulation.flatten(0, 1))
        h = F.pixel_unshuffle(torch.cat([condition, x], 2).flatten(0, 1), self.config.patch)
        h = self.stem(h.contiguous(memory_format=torch.channels_last))
        kept = []
        for level, block in enumerate(self.down):
            h = block(h, modulation)
            if level < len(self.lower):
                kept.append(h)
                h = self.lower[level](h)
        h = self._mix(self.middle(h, modulation), len(self.lower), frames)
        for level in reversed(range(len(self.up))):
            lifted = F.interpolate(self.lift[level](h), scale_factor=2.0)
            h = self._mix(self.up[level](torch.cat([kept[level], lifted], 1), modulation), level, frames)
        out = F.pixel_shuffle(self.head(F.silu(self.norm(h))).float(), self.config.patch)
        return out.reshape(x.shape)

    def _mix(self, h: Tensor, level: int, frames: int) -> Tensor:
        return self.over_frames[level - 1](h, frames) if self.context and level else h


class ResnetBlock(nn.Module):
    """Two convolutions; the second is scaled and shifted by the diffusion step."""

    def __init__(self, inputs: int, width: int, dim: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, inputs), nn.Conv2d(inputs, width, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, width), nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Conv2d(inputs, width, 1) if inputs != width else nn.Identity()
        self.modulation = nn.Linear(dim, 2 * width)
        _zero(self.modulation, self.conv2)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """(N, inputs, H, W), (N, dim) -> (N, width, H, W)."""
        h: Tensor = self.norm2(self.conv1(F.silu(self.norm1(x))))
        scale, shift = self.modulation(modulation)[:, :, None, None].chunk(2, 1)
        h = self.conv2(F.silu(h * (1 + scale) + shift))
        return self.skip(x) + h


class FrameMixing(nn.Module):
    """Adds to every frame what a convolution over it and its two neighbours makes, position by position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(GROUPS, width), nn.Conv2d(3 * width, width, 1)
        _zero(self.conv)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(B * frames, width, H, W) -> the same; beyond the first and last frame there are these again."""
        h = F.silu(self.norm(x)).reshape(-1, frames, *x.shape[1:])
        before, after = torch.cat([h[:, :1], h[:, :-1]], 1), torch.cat([h[:, 1:], h[:, -1:]], 1)
        neighbours = torch.cat([before, h, after], 2).flatten(0, 1)
        return x + self.conv(neighbours.contiguous(memory_format=torch.channels_last))


class PatchCritic(nn.Module):
    """Tells real from drawn mouths, patch by patch: (N, 4, H, W) to scores (N, 1, h, w), and the features before."""

    def __init__(self, channels: int = 4, width: int = 32) -> None:
        super().__init__()
        norm = torch.nn.utils.parametrizations.spectral_norm
        shapes = ((channels, width, 4, 2), (width, 2 * width, 4, 2), (2 * width, 4 * width, 3, 1), (4 * width, 1, 3, 1))
        self.layers = nn.ModuleList(norm(nn.Conv2d(a, b, size, stride, 1)) for a, b, size, stride in shapes)

    def forward(self, x: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        features = []
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x.float())
        return self.layers[-1](x).float(), features


def _sinusoidal(t: Tensor) -> Tensor:
    """(B,) steps to (B, 64)."""
    frequencies = torch.exp(torch.linspace(0, math.log(1000), 32, device=t.device))
    angles = (t / N_STEPS)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)


def _zero(*layers: nn.Linear | nn.Conv2d) -> None:
    """Layers that do nothing before training."""
    for layer in layers:
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
