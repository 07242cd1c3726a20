"""Losses and measures of drawn pictures."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kptalk.networks.frame_unet import PatchCritic

FEATURE_WEIGHT = 4.0  # of the critic's features, against its score


def critic_loss(critic: PatchCritic, real: Tensor, drawn: Tensor, weight: float) -> Tensor:
    """The critic's own hinge loss, and what it finds wrong in drawn pictures (N, C, H, W), by ``weight``."""
    real_score, real_features = critic(real)
    drawn_score, _ = critic(drawn.detach())
    own = F.relu(1 - real_score).mean() + F.relu(1 + drawn_score).mean()
    critic.requires_grad_(False)
    score, features = critic(drawn)
    critic.requires_grad_(True)
    pairs = zip(features, real_features, strict=True)
    match = torch.stack([(a - wanted.detach()).abs().mean() for a, wanted in pairs]).sum()
    loss: Tensor = own + weight * (FEATURE_WEIGHT * match - score.mean())
    return loss


def loss_weight(maps: Tensor) -> Tensor:
    """(B, F, 1, S, S): 1, more around the eyes and lips, most between the lips."""
    flat, share = maps.flatten(0, 1), maps.shape[-1] / 128
    lips, eyes = widened(flat[:, 1:2], 9 * share), widened(flat[:, 3:4], 7 * share)
    weight = 1 + 3 * lips + 2 * eyes + 4 * flat[:, :1]
    return weight.reshape(*maps.shape[:2], *weight.shape[1:])


def widened(maps: Tensor, width: float) -> Tensor:
    """Landmark maps (N, 1, S, S), what is in them wider by about ``width`` pixels in all."""
    half = int(width / 2)
    return F.max_pool2d(maps, 2 * half + 1, 1, half)


def weighted(error: Tensor, weight: Tensor) -> Tensor:
    """Mean of an error (B, F, C, H, W) by a weight (B, F, 1, S, S), which may be a little larger."""
    part = weight[:, : error.shape[1], :, : error.shape[-2], : error.shape[-1]]
    mean: Tensor = (error * part).mean() / weight.mean()
    return mean


def psnr(a: Tensor, b: Tensor, where: Tensor) -> float:
    """Of pictures (3, H, W), -1 to 1, within a mask (H, W)."""
    return float(-10 * torch.log10((((a - b) / 2) ** 2)[:, where].mean().clamp(min=1e-6)))


def energy(picture: Tensor, where: Tensor) -> Tensor:
    """Energy of the gradient within a mask."""
    grey = picture.mean(0)
    energy = grey.diff(dim=0)[:, :-1] ** 2 + grey.diff(dim=1)[:-1] ** 2
    return energy[where[:-1, :-1]].sum()
