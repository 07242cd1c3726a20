"""Small stand-ins for the models and the renderer, so that whole pipelines run in milliseconds."""

from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from kptalk.methods import facemesh
from kptalk.motion.facemesh.generator import FaceMeshGenerator, SamplerConfig
from kptalk.motion.facemesh.space import FaceMeshSource, FaceMeshSpace
from kptalk.motion.landmark.space import LandmarkSpace
from kptalk.pipeline import Pipeline
from kptalk.render.renderer import refuse_drawing
from kptalk.types import FIELDS, Face, Motion, Portrait
from kptalk.weights.header import embedded_path

SHAPES = {"scale": (1,), "rotation": (3,), "translation": (3,), "expression": (21, 3)}
PRIOR = np.full(80, -1.5, np.float32)


class FakeEncoder(nn.Module):
    """Features (n, 512) that hold the window's mean in the first place; remembers the windows that it saw."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, windows):
        self.seen.append(windows.clone().numpy())
        features = torch.zeros(len(windows), 512)
        features[:, 0] = windows.mean((1, 2))
        return features


class FakeDenoiser(nn.Module):
    """Predicts noise so that sampling goes to a motion that follows the sound and, a bit, the noise."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, t, audio):
        return self.scale * (x - 0.2 * audio[..., :1])


class FakeRenderer:
    """Draws the photo, its first pixel replaced by the yaw; remembers the motion that it was given."""

    name = "fake"

    def __init__(self, space):
        self.space = space
        self.drawn = []

    def with_drawing(self, steps, guidance):
        refuse_drawing(self.name, steps, guidance)
        return self

    def prepare(self, portrait, free: Collection[str] = ()):
        return FakeState(portrait, self.space.extract(portrait))

    def source(self, prepared):
        return prepared.source

    def start(self, prepared, seed):
        return prepared

    def step(self, motion, state):
        self.drawn.append(len(motion))
        frames = np.repeat(state.portrait.image[None], len(motion), 0)
        frames[:, 0, 0, 0] = (128 + 20 * motion.rotation[:, 0]).clip(0, 255).astype(np.uint8)
        return frames, state

    def finish(self, state):
        return np.empty((0, *state.portrait.image.shape), np.uint8)


@dataclass(frozen=True)
class FakeState:
    portrait: Portrait
    source: FaceMeshSource


def facemesh_space() -> FaceMeshSpace:
    """The embedded motion space."""
    return FaceMeshSpace.load(embedded_path("facemesh"))


@cache
def landmark_space() -> LandmarkSpace:
    """The same for all landmarks."""
    return LandmarkSpace.load(embedded_path("facemesh"))


SPACES = {"facemesh": facemesh_space, "landmark": landmark_space}
in_both_spaces = pytest.mark.parametrize("space", SPACES, indirect=True)  # what a test gets as ``space``


def plain_portrait(space: FaceMeshSpace, side: int = 128) -> Portrait:
    """The template's face on a plain picture."""
    mesh = (space.template - space.template.mean(0)) * side * 0.25 + np.array([side / 2, side / 2, 0])
    picture = np.random.default_rng(0).integers(60, 200, (side, side, 3)).astype(np.uint8)
    return Portrait(picture, Face(mesh.astype(np.float32)))


def fake_generator(space: FaceMeshSpace, config: SamplerConfig | None = None) -> FaceMeshGenerator:
    return FaceMeshGenerator(space, FakeEncoder(), FakeDenoiser(), PRIOR, config or SamplerConfig(steps=2))


def fake_pipeline(space: FaceMeshSpace) -> Pipeline:
    method = facemesh.method(fake_generator(space), FakeRenderer(space))
    return Pipeline(method, "fake", space.id)


def random_motion(length: int, seed: int = 0, fps: Fraction = Fraction(25), space: str = "facemesh") -> Motion:
    """Smooth random motion of ordinary size."""
    rng = np.random.default_rng(seed)
    smooth = np.cumsum(rng.standard_normal((length + 20, 70)), 0) / 6
    smooth = smooth[20:] - smooth[:-20].mean(0)
    expression = 0.02 * smooth[:, 7:].astype(np.float32)
    return Motion(
        scale=1 + 0.01 * smooth[:, :1],
        rotation=smooth[:, 1:4],
        translation=0.02 * smooth[:, 4:7],
        expression=landmark_space().expression(expression) if space == "landmark" else expression.reshape(-1, 21, 3),
        fps=fps,
        space=space,
    )


def close(a: Motion, b: Motion, tolerance: float = 1e-5) -> bool:
    """Whether two motions agree in every field."""
    return len(a) == len(b) and all(
        np.allclose(getattr(a, name), getattr(b, name), rtol=0, atol=tolerance) for name in FIELDS
    )


def same(a: Motion, b: Motion) -> bool:
    """Whether two motions are equal to the bit."""
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in FIELDS)
