"""The networks of denoising in latents, as in the paper: an autoencoder and a U-Net over frames, both of ``diffusers``.

``diffusers`` is an optional dependency, imported when one of these networks is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.errors import MissingExtra
from kptalk.networks.noise_schedule import alphas_cumprod, signal_and_noise

PREDICTIONS = ("v", "epsilon")
MAP_CHANNELS = 16  # that landmark maps are brought to
TOKEN_SIDE = 4  # latents on each side of a reference token


@dataclass(frozen=True)
class AutoencoderConfig:
    """Architecture numbers.

    Attributes:
        size: side of the pictures, in pixels.
        latents: channels of the latents.
        widths: channels of the levels, the finest first; each is half as fine as the one before.
        blocks: ResNet blocks of a level.
        groups: of the normalisation.
    """

    size: int = 512
    latents: int = 4
    widths: tuple[int, ...] = (64, 128, 256, 256)
    blocks: int = 2
    groups: int = 32


class FrameAutoencoder(nn.Module):
    """Pictures (N, 3, S, S), -1 to 1, to latents (N, L, s, s) of about unit variance and back: ``AutoencoderKL``."""

    scale: Tensor

    def __init__(self, config: AutoencoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or AutoencoderConfig()
        levels = len(self.config.widths)
        self.kl = _diffusers().AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=self.config.widths,
            layers_per_block=self.config.blocks,
            latent_channels=self.config.latents,
            norm_num_groups=self.config.groups,
        )
        self.register_buffer("scale", torch.ones(()))

    def encode(self, pictures: Tensor) -> Tensor:
        """The mean of the latents, scaled."""
        latents: Tensor = self.kl.encode(pictures).latent_dist.mode()
        return latents * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """What ``encode`` was given, nearly."""
        pictures: Tensor = self.kl.decode(latents / self.scale).sample
        return pictures


@dataclass(frozen=True)
class LatentUNetConfig:
    """Architecture numbers.

    Attributes:
        size: side of the frames, in pixels.
        maps: landmark maps of a frame.
        latents: channels of the latents.
        factor: pixels in a latent, along each side.
        widths: channels of the levels, the finest first; all but the coarsest have attention.
        blocks: ResNet blocks of a level.
        head: channels of an attention head.
        tokens: channels of the reference tokens.
        groups: of the normalisation.
        prediction: ``v`` or ``epsilon``.
        warp: whether the network is given the warped photo of every frame, or the photo itself.
        temporal: whether there are layers over frames.
    """

    size: int = 512
    maps: int = 5
    latents: int = 4
    factor: int = 8
    widths: tuple[int, ...] = (128, 256, 384, 512)
    blocks: int = 2
    head: int = 64
    tokens: int = 384
    groups: int = 32
    prediction: str = "v"
    warp: bool = True
    temporal: bool = True

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"prediction is {self.prediction!r}, expected one of {', '.join(PREDICTIONS)}")
        if self.size % (self.factor * TOKEN_SIDE) or self.size % (self.factor * 2 ** (len(self.widths) - 1)):
            raise ValueError(f"a side of {self.size} does not divide into latents, tokens and levels")

    def fits(self, autoencoder: AutoencoderConfig) -> bool:
        """Whether the autoencoder's latents are those of the network."""
        made = autoencoder.size, autoencoder.latents, 2 ** (len(autoencoder.widths) - 1)
        return made == (self.size, self.latents, self.factor)


class LatentUNet(nn.Module):
    """Latents x_t of neighbouring frames with their condition to v or epsilon: ``UNet3DConditionModel``.

    The latents of the warped photo and of the photo, and both their landmark maps, are further channels of every frame;
    the photo is also attended to, in tokens.
    """

    def __init__(self, config: LatentUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or LatentUNetConfig()
        latents, widths, inner = self.config.latents, self.config.widths, len(self.config.widths) - 1
        self.maps = nn.Conv2d(self.config.maps * self.config.factor**2, MAP_CHANNELS, 1)
        self.reference = nn.Conv2d(latents + MAP_CHANNELS, self.config.tokens, TOKEN_SIDE, TOKEN_SIDE)
        self.unet = _diffusers().UNet3DConditionModel(
            in_channels=3 * latents + 2 * MAP_CHANNELS,
            out_channels=latents,
            block_out_channels=widths,
            down_block_types=("CrossAttnDownBlock3D",) * inner + ("DownBlock3D",),
            up_block_types=("UpBlock3D",) + ("CrossAttnUpBlock3D",) * inner,
            layers_per_block=self.config.blocks,
            norm_num_groups=self.config.groups,
            cross_attention_dim=self.config.tokens,
            attention_head_dim=self.config.head,
        )

    def forward(
        self, x: Tensor, t: Tensor, base: Tensor, maps: Tensor, reference: Tensor, reference_maps: Tensor
    ) -> Tensor:
        """Predict v or epsilon.

        Args:
            x: (B, F, L, s, s) noisy latents.
            t: (B,) int64 steps, 0 to 999.
            base: (B, F, L, s, s) latents of the warped photo.
            maps: (B, F, 5, S, S) landmark maps, 0 to 1; zeros where the network is to do without.
            reference: (B, L, s, s) latents of the photo.
            reference_maps: (B, 5, S, S).

        Returns:
            (B, F, L, s, s) float32.
        """
        frames, factor = x.shape[1], self.config.factor
        own = self.maps(F.pixel_unshuffle(maps.flatten(0, 1), factor)).unflatten(0, maps.shape[:2])
        photo = torch.cat([reference, self.maps(F.pixel_unshuffle(reference_maps, factor))], 1)
        tokens = self.reference(photo).flatten(2).transpose(1, 2)
        inputs = torch.cat([x, base, own, photo[:, None].expand(-1, frames, -1, -1, -1)], 2)
        if not self.config.temporal:  # every frame is a video of its own
            inputs = inputs.flatten(0, 1)[:, None]
            t, tokens = t.repeat_interleave(frames), tokens.repeat_interleave(frames, 0)
        out: Tensor = self.unet(inputs.transpose(1, 2), t, encoder_hidden_states=tokens).sample
        return out.transpose(1, 2).float().reshape(x.shape)

    def clean(self, x: Tensor, t: Tensor, predicted: Tensor) -> Tensor:
        """The clean latents that a prediction stands for."""
        signal, spread = signal_and_noise(alphas_cumprod().to(x.device), t, x.dim())
        return signal * x - spread * predicted if self.config.prediction == "v" else (x - spread * predicted) / signal

    def towards(self, clean: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The prediction that stands for clean latents: the inverse of ``clean``."""
        signal, spread = signal_and_noise(alphas_cumprod().to(x.device), t, x.dim())
        return (signal * x - clean if self.config.prediction == "v" else x - signal * clean) / spread


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise MissingExtra("drawing in latents needs diffusers: pip install 'kptalk[latent]'") from error
    return diffusers
