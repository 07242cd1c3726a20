"""Recipe of the autoencoder whose latents L2V denoises (Rombach et al. 2022): squares of videos, in and out.

The loss is their absolute difference and that of their gradients, more of it at lips and eyes, a little of the latents'
divergence from a normal distribution, and in the second half a critic's.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kptalk.networks.frame_unet import PatchCritic
from kptalk.render.latent.latents import AutoencoderConfig, FrameAutoencoder
from kptalk.train.data import Inputs
from kptalk.train.frame_configs import VaeConfig
from kptalk.train.loop import Draw, Loss, Score
from kptalk.train.losses import critic_loss, loss_weight, psnr, weighted
from kptalk.train.picture_data import PictureData, batch, open_pictures
from kptalk.train.pictures import FRAMES
from kptalk.weights.store import save_model

DIVERGENCE_WEIGHT = 1e-6
CRITIC_RAMP, CRITIC_WEIGHT = 500, 0.03
SCORE_SEQUENCES = 20


@dataclass(frozen=True, kw_only=True)
class VaeData(PictureData):
    """Pictures with the config of what is trained on them."""

    config: VaeConfig


class VaeTraining(nn.Module):
    """The autoencoder, the critic and how many batches they have seen."""

    batches: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.network, self.critic = FrameAutoencoder(config), PatchCritic(3)
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))


def data(inputs: Inputs) -> VaeData:
    """Pictures of the dataset's videos, made where there are none.

    Raises:
        DatasetError: see ``open_pictures``.
    """
    config = inputs.config
    assert isinstance(config, VaeConfig)
    return VaeData(*open_pictures(inputs, config.network.size, config.every), config=config)


def build(data: VaeData) -> VaeTraining:
    """The autoencoder, untrained, with its critic."""
    return VaeTraining(data.config.network)


def loss(data: VaeData) -> Loss:
    """The loss of one batch of pictures, each from another sequence."""

    def batch_loss(model: nn.Module, draw: Draw) -> Tensor:
        assert isinstance(model, VaeTraining)
        rng = draw.rng
        model.batches += 1
        b = data.draw(rng, len(draw)).to(model.batches.device)
        one = slice(*(int(rng.integers(FRAMES)) + np.array([0, 1])).tolist())
        real, weight = b.real[:, one], loss_weight(b.maps[:, one])
        with draw.autocast(real.device):
            latents = model.network.kl.encode(real[:, 0]).latent_dist
            drawn = model.network.kl.decode(latents.sample()).sample[:, None].float()
        loss: Tensor = weighted((drawn - real).abs(), weight) + DIVERGENCE_WEIGHT * latents.kl().mean()
        for axis in (-1, -2):
            loss = loss + weighted((drawn.diff(dim=axis) - real.diff(dim=axis)).abs(), weight)
        ramp = (int(model.batches) - data.config.critic_from) / CRITIC_RAMP
        if ramp <= 0:
            return loss
        with draw.autocast(real.device):
            return loss + critic_loss(model.critic, real[:, 0], drawn[:, 0], min(1.0, ramp) * CRITIC_WEIGHT)

    return batch_loss


def score(data: VaeData) -> Score:
    """PSNR of pictures of people held out, after encoding and decoding."""
    pictures = held_out_pictures(data)

    def held_out_score(model: nn.Module) -> float:
        assert isinstance(model, VaeTraining)
        device, found = model.batches.device, []
        for picture in pictures:
            back = model.network.decode(model.network.encode(picture[None].to(device))).cpu()
            found.append(psnr(back[0], picture, torch.ones(picture.shape[-2:], dtype=torch.bool)))
        return float(np.mean(found))

    return held_out_score


@torch.inference_mode()
def save(path: Path, model: VaeTraining, data: VaeData) -> None:
    """Write the autoencoder, its latents scaled to unit variance."""
    network, device = model.network.float(), model.batches.device
    latents = torch.cat([network.encode(one[None].to(device)) for one in held_out_pictures(data)])
    network.scale = network.scale / latents.std().clamp(min=1e-3)
    save_model(path, network, network.config, half=True)


def held_out_pictures(data: PictureData) -> Tensor:
    """A frame (n, 3, S, S) each of some sequences of people held out."""
    return torch.cat([batch([each]).real[:, 0] for each in data.held_out_sequences(SCORE_SEQUENCES)])
