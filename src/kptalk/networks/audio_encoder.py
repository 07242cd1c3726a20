"""Wav2Lip's audio encoder: a mel window of 0.2 s becomes 512 features."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class AudioEncoderConfig:
    """Widths of the five stages; every stage but the last shrinks the (80, 16) window, the last leaves one cell."""

    widths: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)


class ConvBlock(nn.Module):
    """Convolution with bias, batch normalisation, ReLU: (B, inputs, H, W) -> (B, outputs, H', W').

    ``stride`` is over mel bands and over time.
    """

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int] = (1, 1), kernel: int = 3, padding: int = 1):
        super().__init__()
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding)
        self.conv_block = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv_block(x))


class ResidualBlock(ConvBlock):
    """The same with its input added before the ReLU: (B, C, H, W) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv_block(x) + x)


class AudioEncoder(nn.Module):
    """Mel windows to features. Parameter names are those of ``wav2lip.pth`` without its ``module.`` prefix."""

    def __init__(self, config: AudioEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or AudioEncoderConfig()
        a, b, c, d, e = self.config.widths
        self.audio_encoder = nn.Sequential(
            *(ConvBlock(1, a), ResidualBlock(a, a), ResidualBlock(a, a)),
            *(ConvBlock(a, b, (3, 1)), ResidualBlock(b, b), ResidualBlock(b, b)),
            *(ConvBlock(b, c, (3, 3)), ResidualBlock(c, c), ResidualBlock(c, c)),
            *(ConvBlock(c, d, (3, 2)), ResidualBlock(d, d)),
            *(ConvBlock(d, e, padding=0), ConvBlock(e, e, kernel=1, padding=0)),
        )

    def forward(self, windows: Tensor) -> Tensor:
        """(B, 80, 16) or (B, 1, 80, 16) float32 mel windows -> (B, 512) float32, not negative."""
        return self.audio_encoder(windows.reshape(-1, 1, *windows.shape[-2:])).flatten(1)
