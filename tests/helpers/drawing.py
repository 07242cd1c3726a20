"""Small untrained networks that draw frames, and renderers around them."""

from __future__ import annotations

import torch

from kptalk.networks.frame_unet import FrameUNet, FrameUNetConfig
from kptalk.render.latent.denoiser import LatentDenoiser, PixelDenoiser
from kptalk.render.latent.latents import AutoencoderConfig, FrameAutoencoder, LatentUNet, LatentUNetConfig
from kptalk.render.latent.renderer import LatentRenderer
from kptalk.render.mesh.renderer import MeshRenderer

SMALL = FrameUNetConfig(size=32, widths=(8, 16))
SMALL_VAE = AutoencoderConfig(size=32, widths=(8, 8), blocks=1, groups=4)
SMALL_LATENT = LatentUNetConfig(size=32, factor=2, widths=(8, 16), blocks=1, head=8, tokens=8, groups=4)


def small_unet(seed: int = 0, **changed) -> FrameUNet:
    """A network of pixels that has something to say."""
    torch.manual_seed(seed)
    network = FrameUNet(FrameUNetConfig(**{**vars(SMALL), **changed})).eval()
    for layer in (network.head, *(mixing.conv for mixing in network.over_frames)):
        torch.nn.init.normal_(layer.weight, std=0.05)
    return network


def pixel_denoiser(seed: int = 0) -> PixelDenoiser:
    return PixelDenoiser(small_unet(seed))


def latent_denoiser(seed: int = 0, **changed) -> LatentDenoiser:
    torch.manual_seed(seed)
    config = LatentUNetConfig(**{**vars(SMALL_LATENT), **changed})
    return LatentDenoiser(LatentUNet(config).eval(), FrameAutoencoder(SMALL_VAE).eval())


def latent_renderer(space, denoiser=None, steps: int = 1) -> LatentRenderer:
    return LatentRenderer(MeshRenderer(space), denoiser or pixel_denoiser(), steps)


class StillDenoiser:
    """Draws the warped photo as it is; remembers the windows that it was given."""

    size, noise_shape, device = 64, (3, 64, 64), torch.device("cpu")

    def __init__(self):
        self.windows = []

    def draw(self, window, noise, steps, guidance):
        self.windows.append((window.warped.shape[1], steps, guidance, noise))
        return window.warped.clone()
