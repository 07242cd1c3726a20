"""Wav2Lip's audio encoder: a mel window of 0.2 s becomes 512 features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ConvSpec:
    """One block: convolution with bias, batch normalisation, ReLU; ``residual`` adds the input before the ReLU."""

    inputs: int
    outputs: int
    kernel: int = 3
    stride: tuple[int, int] = (1, 1)  # over mel bands, over time
    padding: int = 1
    residual: bool = False


@dataclass(frozen=True)
class AudioEncoderConfig:
    """Widths of the five stages; every stage but the last shrinks the (80, 16) window, the last leaves one cell."""

    widths: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)

    def blocks(self) -> list[ConvSpec]:
        """The 13 blocks of Wav2Lip."""
        a, b, c, d, e = self.widths

        def keep(width: int) -> ConvSpec:
            return ConvSpec(width, width, residual=True)

        return [
            *(ConvSpec(1, a), keep(a), keep(a)),
            *(ConvSpec(a, b, stride=(3, 1)), keep(b), keep(b)),
            *(ConvSpec(b, c, stride=(3, 3)), keep(c), keep(c)),
            *(ConvSpec(c, d, stride=(3, 2)), keep(d)),
            *(ConvSpec(d, e, padding=0), ConvSpec(e, e, kernel=1, padding=0)),
        ]


class ConvBlock(nn.Module):
    """See ``ConvSpec``; (B, inputs, H, W) -> (B, outputs, H', W')."""

    def __init__(self, spec: ConvSpec) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(spec.inputs, spec.outputs, spec.kernel, spec.stride, spec.padding), nn.BatchNorm2d(spec.outputs)
        )
        self.residual = spec.residual

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_block(x)
        return torch.relu(out + x if self.residual else out)


class AudioEncoder(nn.Module):
    """Mel windows to features. Parameter names are those of ``wav2lip.pth`` without its ``module.`` prefix."""

    def __init__(self, config: AudioEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or AudioEncoderConfig()
        self.audio_encoder = nn.Sequential(*(ConvBlock(spec) for spec in self.config.blocks()))

    def forward(self, windows: Tensor) -> Tensor:
        """(B, 80, 16) or (B, 1, 80, 16) float32 mel windows -> (B, 512) float32, not negative."""
        features: Tensor = self.audio_encoder(windows.reshape(-1, 1, *windows.shape[-2:]))
        return features.flatten(1)
