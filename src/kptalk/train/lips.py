"""Trains the lip net: the whole face as it usually goes with a sound, with weight on how far and how wide lips open."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from kptalk.face.topology import MOUTH_CORNERS
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.networks.lip_ensemble import LipEnsemble
from kptalk.train.audio import WINDOW, ClipSampler, correlation, whole_clip
from kptalk.train.data import TrainingClip
from kptalk.types import Array

BATCH = 16
OPENING, WIDTH = 2.0, 1.0  # weights of one minus the correlation, beside the squared error


def lips_loss(sampler: ClipSampler, space: FaceMeshSpace) -> Callable[[nn.Module, np.random.Generator], Tensor]:
    """Squared error weighted by what each token moves, and the correlations of the opening and of the mouth's width.

    The mean over the net's readers, each of which is to be right by itself.
    """
    importance, opening = torch.from_numpy(space.token_importance()), torch.from_numpy(space.lip_tokens())
    width = torch.from_numpy(_width_tokens(space))

    def loss(model: nn.Module, rng: np.random.Generator) -> Tensor:
        drawn = [sampler.draw(rng, WINDOW) for _ in range(BATCH)]
        device = next(model.parameters()).device
        windows = torch.from_numpy(np.stack([d[0] for d in drawn])).to(device)
        target = torch.from_numpy(np.stack([d[1] for d in drawn])).to(device)[..., 7:]
        assert isinstance(model, LipEnsemble)
        with torch.autocast(device.type, torch.bfloat16):
            out = torch.stack([reader(windows) for reader in model.members])
        out = out.float()
        total: Tensor = ((out - target) ** 2 * importance.to(device)).sum(-1).mean()
        for share, reading in ((OPENING, opening.to(device)), (WIDTH, width.to(device))):
            total = total + share * (1 - correlation(out @ reading, target @ reading).mean())
        return total

    return loss


def lips_score(clips: Sequence[TrainingClip], prior: Array, space: FaceMeshSpace) -> Callable[[nn.Module], float]:
    """Mean correlation of the lip opening over clips of other people, the longer clips counting for more."""
    windows = [torch.from_numpy(whole_clip(clip, prior)) for clip in clips]
    opening = torch.from_numpy(space.lip_tokens())
    targets = [torch.from_numpy(clip.tokens[:, 7:]) @ opening for clip in clips]
    lengths = np.array([len(target) for target in targets], float)

    def score(model: nn.Module) -> float:
        device = next(model.parameters()).device
        values = [
            float(correlation(model(w[None].to(device)).cpu() @ opening, t[None]))
            for w, t in zip(windows, targets, strict=True)
        ]
        return float(np.average(values, weights=lengths))

    return score


def _width_tokens(space: FaceMeshSpace) -> Array:
    """Distance of the mouth's corners as a linear function of the expression tokens, (63,), in face units."""
    moved = space.decode(space.unwhiten.reshape(len(space.unwhiten), -1, 3))
    left, right = MOUTH_CORNERS
    width: Array = np.ascontiguousarray(moved[:, right, 0] - moved[:, left, 0])
    return width
