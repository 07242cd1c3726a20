"""Recipe of the lip ensemble: the whole face as it usually goes with a sound, above all how wide and open the lips."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from kptalk.face.topology import MOUTH_CORNERS
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.networks.lip_ensemble import LipEnsemble
from kptalk.train.audio import expression_loss, lip_correlations
from kptalk.train.data import Inputs
from kptalk.train.loop import LoopConfig, Loss, Score
from kptalk.train.sampler import ClipData, load_clip_data
from kptalk.types import Array
from kptalk.weights.model import speech_mel_mean

LOOP = LoopConfig(steps=400, batch=16, learning_rate=1e-3, ema=0.99, score_every=50, tolerance=0.02)
OPENING, WIDTH = 2.0, 1.0  # weights of one minus the correlation, beside the squared error


def data(inputs: Inputs, kind: type[FaceMeshSpace] = FaceMeshSpace) -> ClipData:
    """Clips, normalised as for the audio encoder that the lips work beside; ``kind`` of motion space."""
    return replace(load_clip_data(inputs, kind), mel_mean=speech_mel_mean(inputs.folder / "audio.safetensors"))


def build(data: ClipData) -> LipEnsemble:
    """The ensemble, untrained."""
    return LipEnsemble()


def loss(data: ClipData) -> Loss:
    """``expression_loss`` with the lip opening and the mouth's width.

    The mean over the ensemble's members, each of which should be right by itself.
    """
    directions = [(OPENING, data.space.lip_tokens()), (WIDTH, _width_tokens(data.space))]
    return expression_loss(data, directions, _members)


def score(data: ClipData) -> Score:
    """Mean correlation of the lip opening over clips of other people, weighted by their length."""
    correlations, lengths = lip_correlations(data), [len(clip) for clip in data.held_out]
    return lambda model: float(np.average(correlations(model).numpy(), weights=lengths))


def _members(model: nn.Module, windows: Tensor) -> Tensor:
    """What every member predicts, (members, B, T, 63)."""
    assert isinstance(model, LipEnsemble)
    return torch.stack([member(windows) for member in model.members])


def _width_tokens(space: FaceMeshSpace) -> Array:
    """Distance of the mouth's corners as a linear function of the expression tokens, (63,), in face units."""
    moved = space.decode(space.unwhiten.reshape(len(space.unwhiten), -1, 3))
    left, right = MOUTH_CORNERS
    return np.ascontiguousarray(moved[:, right, 0] - moved[:, left, 0])
