"""Recipe of A2L, speech to landmark movements: the denoiser of ``motion.py`` in the motion space ``landmark``.

What differs: the first reference token holds the portrait's own landmarks, all 478 of them; an error counts by how far
it moves the landmarks, those of the lips above all; there are three configs; and where the folder has a denoiser of the
keypoint method of the same size, training starts from it, since both draw the same tokens.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from kptalk.errors import DatasetError
from kptalk.face.topology import JAW, LIPS_INNER, LIPS_OUTER
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.landmark.space import LandmarkSpace
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.train import motion
from kptalk.train.data import Inputs
from kptalk.train.loop import LoopConfig, Loss
from kptalk.train.motion import MotionConfig, MotionData
from kptalk.types import Array
from kptalk.weights.store import load_model

AREAS = ((JAW, 2.0), (np.concatenate([LIPS_OUTER, LIPS_INNER]), 4.0))  # weights of landmarks; of the others 1

# Lips open as far as the keypoint method's with a gain larger by so much: measured on the people held out, with an
# earlier lip ensemble (3.5 against 3.2).
SAMPLER = replace(motion.SAMPLER, mouth_gain=3.2)


CONFIGS = {
    "smoke": motion.CONFIGS["smoke"],
    "embedded": replace(
        motion.CONFIGS["embedded"],
        loop=LoopConfig(steps=4000, batch=24, learning_rate=3e-4, ema=0.995, tolerance=0.01),
    ),
    "paper": MotionConfig(
        LoopConfig(steps=200_000, batch=64, learning_rate=1e-4, warmup=1000, ema=0.9999, score_every=2000),
        DenoiserConfig(prediction="v"),
    ),
}


@dataclass(frozen=True)
class LandmarkData(MotionData):
    """Clips in the motion space ``landmark``; ``start``: weights to begin with."""

    start: Path | None


def data(inputs: Inputs) -> LandmarkData:
    """Clips with their audio features and each person's landmarks.

    Raises:
        DatasetError: the clips are packed, without landmarks.
    """
    if inputs.data.is_file():
        raise DatasetError(f"{inputs.data} holds packed clips without landmarks: give the dataset")
    found = motion.data(inputs, LandmarkSpace)
    start = inputs.folder / "motion.safetensors"
    usable = start.is_file() and found.config.network == load_model(start, Denoiser, DenoiserConfig).config
    parts = {each.name: getattr(found, each.name) for each in fields(found)}
    return LandmarkData(**parts, start=start if usable else None)


def build(data: LandmarkData) -> Denoiser:
    """The denoiser: that of the keypoint method where it fits, otherwise untrained."""
    return load_model(data.start, Denoiser, DenoiserConfig) if data.start else Denoiser(data.config.network)


def loss(data: LandmarkData) -> Loss:
    """As the keypoint method's, with the landmarks weighted by area."""
    return motion.loss(data, area_importance(data.space))


def save(path: Path, denoiser: Denoiser, data: LandmarkData) -> None:
    """Write the denoiser with the numbers for sampling from it."""
    motion.save(path, denoiser, data, SAMPLER)


def area_importance(space: FaceMeshSpace) -> Array:
    """How much each expression token moves the landmarks as ``AREAS`` counts them, (63,), sum 1."""
    weights = np.ones(len(space.template))
    for part, weight in AREAS:
        weights[part] = weight
    moved = (space.unwhiten @ space.decoder).reshape(len(space.unwhiten), -1, 3)
    moved_by: Array = (weights[:, None] ** 2 * moved**2).sum((1, 2))
    importance: Array = (moved_by / moved_by.sum()).astype(np.float32)
    return importance
