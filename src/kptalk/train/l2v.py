"""Recipe of the frame denoiser (L2V): squares of videos from landmarks, the warped photo and noise.

The network of pixels predicts the clean frames. Its loss is their absolute difference and that of their gradients, more
of it at lips and eyes and most between the lips, and how frames differ from their neighbours; in the second half of the
training also a critic's, which looks at the mouth alone: a mean of teeth is blurred, and only a critic minds.

The network of latents, of which the paper tells, is in ``latents.py``.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from kptalk.errors import OptionError
from kptalk.networks.frame_unet import FrameUNet, FrameUNetConfig, PatchCritic
from kptalk.networks.noise_schedule import N_STEPS, add_noise
from kptalk.render.latent.conditions import MAPS, conditions, without_mouth
from kptalk.render.latent.latents import AutoencoderConfig, FrameAutoencoder, LatentUNetConfig
from kptalk.render.latent.sampler import sample_frames
from kptalk.train import latents
from kptalk.train.data import Inputs
from kptalk.train.frame_configs import L2V, L2VConfig
from kptalk.train.loop import Draw, Loss, Score
from kptalk.train.losses import critic_loss, energy, loss_weight, psnr, weighted, widened
from kptalk.train.picture_data import Batch, PictureData, batch, open_pictures
from kptalk.weights.store import load_model, save_model

CRITIC_RAMP = 500  # steps over which the critic gets its weight
CRITIC_WEIGHT = 0.06
MOUTH = (slice(54, 118), slice(28, 100))  # rows and columns of the square that the critic sees, of 128
FROM_NOISE = 0.4  # share of the sequences that start from pure noise, as sampling does
UNGUIDED = 0.1  # share of the sequences without landmarks, for classifier-free guidance
SCORE_SEQUENCES, SCORE_STEPS = 40, 2
N_SOUND = 1280  # numbers of a mel window


@dataclass(frozen=True, kw_only=True)
class L2VData(PictureData):
    """Pictures with the config of what is trained on them, and the autoencoder of its latents."""

    config: L2VConfig
    autoencoder: FrameAutoencoder | None = None


def data(inputs: Inputs, *, landmarks: bool = True, warp: bool = True, temporal: bool = True) -> L2VData:
    """Pictures of the dataset's videos, made where there are none; the switches are those of ``PictureData``.

    Raises:
        DatasetError: see ``open_pictures``.
        WeightsError: the autoencoder is missing or damaged.
        OptionError: latents without landmarks.
    """
    config, autoencoder = inputs.config, None
    assert isinstance(config, L2VConfig)
    if isinstance(config.network, LatentUNetConfig):
        if not landmarks:
            raise OptionError("the network of latents does not take sound in the place of landmarks")
        vae = load_model(inputs.folder / "vae.safetensors", FrameAutoencoder, AutoencoderConfig)
        if not config.network.fits(vae.config):
            raise OptionError(f"the autoencoder in {inputs.folder} is of another config than the network of latents")
        autoencoder = vae.requires_grad_(False).to(inputs.device)
    sets, held_out = open_pictures(inputs, config.network.size, config.every)
    return L2VData(sets, held_out, landmarks, warp, temporal, config=config, autoencoder=autoencoder)


def build(data: L2VData) -> "FrameTraining | latents.LatentTraining":
    """The network, untrained, with what trains it."""
    config = data.config.network
    if isinstance(config, LatentUNetConfig):
        return latents.LatentTraining(replace(config, warp=data.warp, temporal=data.temporal))
    sound = 0 if data.landmarks else N_SOUND
    return FrameTraining(
        replace(config, warp=data.warp, temporal=data.temporal, audio_dim=sound), data.config.critic_from
    )


def loss(data: L2VData) -> Loss:
    """The loss of one batch."""

    autoencoder = data.autoencoder

    def batch_loss(model: nn.Module, draw: Draw) -> Tensor:
        b = data.draw(draw.rng, len(draw)).to(next(model.parameters()).device)
        if autoencoder:
            return cast(latents.LatentTraining, model).loss(b, autoencoder, draw)
        return cast(FrameTraining, model).loss(b, data, draw)

    return batch_loss


def score(data: L2VData) -> Score:
    """PSNR of drawn mouths of people held out; of pixels the mean of that and of what lies between the lips."""
    autoencoder = data.autoencoder

    def held_out_score(model: nn.Module) -> float:
        if autoencoder:
            return cast(latents.LatentTraining, model).score(data.held_out_sequences(SCORE_SEQUENCES), autoencoder)
        found = measure(cast(FrameTraining, model), data)
        return float(np.nanmean([found["inside"], found["mouth"]]))

    return held_out_score


def save(path: Path, model: "FrameTraining | latents.LatentTraining", data: L2VData) -> None:
    """Write the network with the numbers for sampling from it."""
    sampler = {"steps": data.config.draw_steps, "guidance": data.config.guidance}
    save_model(path, model.network, model.network.config, {"sampler": json.dumps(sampler)}, half=True)


def inputs_of(b: Batch, data: PictureData) -> tuple[Tensor, Tensor, Tensor | None]:
    """Base, condition and sound of a batch, as the network is given them."""
    warped = b.warped if data.warp and data.landmarks else b.reference[:, None].expand_as(b.warped)
    base = without_mouth(warped, b.maps[:, :, :1]) if data.landmarks else warped
    condition = conditions(base, b.maps if data.landmarks else torch.zeros_like(b.maps), b.reference, b.reference_maps)
    return base, condition, None if data.landmarks else b.mels


class FrameTraining(nn.Module):
    """The network of pixels, the critic and how many batches they have seen."""

    batches: Tensor

    def __init__(self, config: FrameUNetConfig, critic_from: int = L2V["embedded"].critic_from) -> None:
        super().__init__()
        self.network, self.critic, self.critic_from = FrameUNet(config), PatchCritic(), critic_from
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def loss(self, b: Batch, data: PictureData, draw: Draw) -> Tensor:
        """The loss of one batch."""
        rng = draw.rng
        self.batches += 1
        base, condition, audio = inputs_of(b, data)
        count, device = len(base), base.device
        unguided = torch.from_numpy(rng.random(count) < UNGUIDED).to(device)
        condition[unguided, :, MAPS] = 0
        spread = (rng.permutation(count) + rng.random(count)) / count
        drawn_t = np.where(rng.random(count) < FROM_NOISE, N_STEPS - 1, (N_STEPS * spread).astype(int))
        t = torch.from_numpy(drawn_t).to(device)
        start = torch.where((t == N_STEPS - 1).view(-1, 1, 1, 1, 1), base, b.real)
        x = add_noise(start, torch.randn_like(base[:, :1]).expand_as(base), t)
        with draw.autocast(device):
            drawn = base + self.network(x, t, condition, audio)
        weight = loss_weight(b.maps)
        loss = weighted((drawn - b.real).abs(), weight)
        for axis in (-1, -2):
            loss = loss + weighted((drawn.diff(dim=axis) - b.real.diff(dim=axis)).abs(), weight)
        loss = loss + 0.5 * weighted((drawn.diff(dim=1) - b.real.diff(dim=1)).abs(), weight)
        ramp = (int(self.batches) - self.critic_from) / CRITIC_RAMP
        if ramp <= 0:
            return loss
        real_mouth, drawn_mouth = mouth_of(b.real, b.maps), mouth_of(drawn, b.maps)
        with draw.autocast(device):
            return loss + critic_loss(self.critic, real_mouth, drawn_mouth, min(1.0, ramp) * CRITIC_WEIGHT)


def mouth_of(frames: Tensor, maps: Tensor) -> Tensor:
    """What the critic sees of frames (B, F, 3, S, S): mouths (B * F, 4, H, W) with the map of the inner lips."""
    rows, columns = (slice(*(edge * frames.shape[-1] // 128 for edge in (m.start, m.stop))) for m in MOUTH)
    return torch.cat([frames, maps[:, :, :1]], 2).flatten(0, 1)[..., rows, columns]


def measure(model: FrameTraining, data: PictureData) -> dict[str, float]:
    """PSNR and sharpness of drawn mouths of people held out, between the lips and around them."""
    chosen, size = data.held_out_sequences(SCORE_SEQUENCES), model.network.config.size
    device = next(model.parameters()).device
    noise = torch.randn(1, 1, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    rows: dict[str, list[float]] = {"inside": [], "mouth": [], "sharpness": [], "inside_mesh": [], "mouth_mesh": []}
    for sequence in chosen:
        b = batch([sequence]).to(device)
        base, condition, audio = inputs_of(b, data)
        with torch.autocast(device.type, torch.bfloat16):
            drawn = sample_frames(model.network, condition, base, noise, SCORE_STEPS, audio=audio)
        for real, ours, mesh, maps in zip(b.real[0], drawn[0], b.warped[0], b.maps[0], strict=True):
            inner, lips = maps[0] > 0.5, widened(maps[None, 1:2], 13 * size / 128)[0, 0] > 0.5
            rows["mouth"].append(psnr(ours, real, lips))
            rows["mouth_mesh"].append(psnr(mesh, real, lips))
            if inner.sum() > 80 * (size / 128) ** 2:
                rows["inside"].append(psnr(ours, real, inner))
                rows["inside_mesh"].append(psnr(mesh, real, inner))
                rows["sharpness"].append(float(energy(ours, inner) / energy(real, inner).clamp(min=1e-4)))
    return {name: _middle(name, values) for name, values in rows.items()}


def _middle(name: str, values: list[float]) -> float:
    """Mean, of sharpness median; NaN where no mouth is open."""
    return float(np.median(values) if name == "sharpness" else np.mean(values)) if values else float("nan")
