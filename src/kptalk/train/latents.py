"""Training of the frame denoiser in latents, the config ``paper`` of L2V: squared error of v or epsilon.

More of it counts at lips and eyes. Every frame of a sequence has the same noise, as in sampling.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.networks.noise_schedule import N_STEPS, add_noise
from kptalk.render.latent.denoiser import LatentDenoiser, Window
from kptalk.render.latent.latents import FrameAutoencoder, LatentUNet, LatentUNetConfig
from kptalk.train.loop import Draw
from kptalk.train.losses import loss_weight, psnr, weighted, widened
from kptalk.train.picture_data import Batch, batch
from kptalk.train.pictures import PictureSet

FROM_NOISE = 0.2  # share of the sequences that start from pure noise, as sampling does
UNGUIDED = 0.1  # share of the sequences without landmarks, for classifier-free guidance
SCORE_STEPS = 4


class LatentTraining(nn.Module):
    """The network of latents."""

    def __init__(self, config: LatentUNetConfig) -> None:
        super().__init__()
        self.network = LatentUNet(config)

    def loss(self, b: Batch, autoencoder: FrameAutoencoder, draw: Draw) -> Tensor:
        """The loss of one batch; nothing in it is differentiated through the autoencoder."""
        count, device, rng = len(b.real), b.real.device, draw.rng
        with torch.no_grad(), draw.autocast(device):
            real, warped = (_encode(autoencoder, frames) for frames in (b.real, b.warped))
            reference = autoencoder.encode(b.reference).float()
        base = warped if self.network.config.warp else reference[:, None].expand_as(real)
        unguided = torch.from_numpy(rng.random(count) < UNGUIDED).to(device)
        maps = torch.where(unguided.view(-1, 1, 1, 1, 1), 0.0, b.maps)
        drawn_t = np.where(rng.random(count) < FROM_NOISE, N_STEPS - 1, rng.integers(N_STEPS, size=count))
        t = torch.from_numpy(drawn_t).to(device)
        start = torch.where((t == N_STEPS - 1).view(-1, 1, 1, 1, 1), base, real)
        noise = torch.randn_like(real[:, :1]).expand_as(real)
        x = add_noise(start, noise, t)
        with draw.autocast(device):
            predicted = self.network(x, t, base, maps, reference, b.reference_maps)
        weight = F.avg_pool2d(loss_weight(b.maps).flatten(0, 1), self.network.config.factor)
        error = (predicted - self.network.towards(real, x, t)) ** 2
        return weighted(error, weight.reshape(*real.shape[:2], *weight.shape[1:]))

    def score(self, sequences: Sequence[tuple[PictureSet, int]], autoencoder: FrameAutoencoder) -> float:
        """PSNR of drawn mouths."""
        denoiser, found = LatentDenoiser(self.network, autoencoder), []
        noise = torch.randn(1, 1, *denoiser.noise_shape, generator=torch.Generator().manual_seed(0))
        for sequence in sequences:
            b = batch([sequence]).to(denoiser.device)
            window = Window(b.warped, b.maps, b.reference, b.reference_maps)
            drawn = denoiser.draw(window, noise.to(denoiser.device), SCORE_STEPS, 1.0)
            for real, ours, maps in zip(b.real[0], drawn[0], b.maps[0], strict=True):
                found.append(psnr(ours, real, widened(maps[None, 1:2], maps.shape[-1] / 10)[0, 0] > 0.5))
        return float(np.mean(found))


def _encode(autoencoder: FrameAutoencoder, frames: Tensor) -> Tensor:
    """Latents (B, F, L, s, s) of frames (B, F, 3, S, S)."""
    return torch.stack([autoencoder.encode(each) for each in frames.unbind(1)], 1).float()
