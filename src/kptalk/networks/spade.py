"""LivePortrait's decoder: a feature map becomes 512 x 512 pixels (SPADE, Park et al. 2019).

The features guide the normalisation at every size. The official file holds the convolutions under spectral
normalisation; ``fold_spectral_norm`` turns them into plain weights, which ``SpadeDecoder`` loads.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2  # of the leaky ReLUs


@dataclass(frozen=True)
class SpadeDecoderConfig:
    """Architecture numbers; the defaults are LivePortrait's (55,365,388 parameters)."""

    features: int = 256  # channels of the input, which is also the guidance
    widths: tuple[int, int, int] = (512, 256, 64)  # at the input's size, at twice and at four times that size
    middle_blocks: int = 6
    hidden: int = 128  # channels between the guidance and the modulation
    upscale: int = 2  # last enlargement, by pixel shuffle


class Spade(nn.Module):
    """Instance normalisation, then a scale and a shift of each pixel predicted from the guidance."""

    def __init__(self, channels: int, config: SpadeDecoderConfig) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(config.features, config.hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(config.hidden, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(config.hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """(B, C, H, W) and (B, 256, h, w) -> (B, C, H, W)."""
        hidden = self.mlp_shared(F.interpolate(guidance, size=x.shape[2:]))
        return F.instance_norm(x) * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)


class SpadeBlock(nn.Module):
    """Residual block of two guided convolutions; where the width changes, the shortcut is a third one."""

    def __init__(self, inputs: int, outputs: int, config: SpadeDecoderConfig) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.conv_0 = nn.Conv2d(inputs, middle, 3, padding=1)
        self.conv_1 = nn.Conv2d(middle, outputs, 3, padding=1)
        self.norm_0 = Spade(inputs, config)
        self.norm_1 = Spade(middle, config)
        self.widens = inputs != outputs
        if self.widens:
            self.conv_s = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.norm_s = Spade(inputs, config)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """(B, inputs, H, W) and (B, 256, h, w) -> (B, outputs, H, W)."""
        shortcut = self.conv_s(self.norm_s(x, guidance)) if self.widens else x
        h = self.conv_0(F.leaky_relu(self.norm_0(x, guidance), SLOPE))
        return shortcut + self.conv_1(F.leaky_relu(self.norm_1(h, guidance), SLOPE))


class SpadeDecoder(nn.Module):
    """Parameter names are those of ``spade_generator.pth`` after ``fold_spectral_norm``."""

    def __init__(self, config: SpadeDecoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SpadeDecoderConfig()
        wide, half, narrow = config.widths
        self.fc = nn.Conv2d(config.features, wide, 3, padding=1)
        for i in range(config.middle_blocks):
            self.add_module(f"G_middle_{i}", SpadeBlock(wide, wide, config))
        self.up_0 = SpadeBlock(wide, half, config)
        self.up_1 = SpadeBlock(half, narrow, config)
        self.conv_img = nn.Sequential(
            nn.Conv2d(narrow, 3 * config.upscale**2, 3, padding=1), nn.PixelShuffle(config.upscale)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, 256, 64, 64) -> RGB (B, 3, 512, 512) from 0 to 1."""
        x = self.fc(features)
        for i in range(self.config.middle_blocks):
            x = self.get_submodule(f"G_middle_{i}")(x, features)
        for block in (self.up_0, self.up_1):
            x = block(F.interpolate(x, scale_factor=2), features)
        return torch.sigmoid(self.conv_img(F.leaky_relu(x, SLOPE)))


def fold_spectral_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Plain weights from spectrally normalised ones.

    ``name.weight_orig``, ``name.weight_u`` and ``name.weight_v`` become ``name.weight`` = weight_orig / sigma with
    sigma = u^T W v, W the weight as a matrix (outputs, rest); computed in float64. All other entries stay, so a state
    dict that is already folded is returned as it is.
    """
    folded = {}
    for name, value in state.items():
        base, _, kind = name.rpartition(".")
        if kind == "weight_orig":
            matrix = value.double().flatten(1)
            sigma = state[f"{base}.weight_u"].double() @ matrix @ state[f"{base}.weight_v"].double()
            folded[f"{base}.weight"] = (value.double() / sigma).to(value.dtype)
        elif kind not in ("weight_u", "weight_v"):
            folded[name] = value
    return folded
