"""Real clips seen by FaceMesh once for all tests, and ways to spoil them."""

from dataclasses import replace

import numpy as np
import pytest

from kptalk.evaluate.metric import Heard, Sight
from kptalk.evaluate.sampling import listen, watch

FRAMES = 100


@pytest.fixture(scope="session")
def seen(shared_data):
    """Function: name of a val clip to its first 100 frames as a list of Sight and its sound; each is watched once."""
    known = {}

    def look(name):
        if name not in known:
            path = shared_data / "clips/val" / f"{name}.mp4"
            sights = list(watch(path, FRAMES / 25))
            known[name] = sights, listen(path, len(sights))
        return known[name]

    return look


@pytest.fixture
def measure(seen):
    """Function: judge, generated sights, real sights, sounds to the judge's numbers."""

    def run(judge, generated, real, heard=None):
        meter = judge.start()
        for ours, theirs in zip(generated, real, strict=False):
            meter.add(ours, theirs)
        silence = np.zeros(min(len(generated), len(real)) * 640, np.float32)
        return meter.result(heard or Heard(silence, silence))

    return run


def shifted(sights, frames):
    """The same video, late by so many frames; it starts with its first frame."""
    return [sights[0]] * frames + sights[: len(sights) - frames]


def frozen(sights, moving):
    """The same video, stuck after so many frames."""
    return [sights[min(k, moving)] for k in range(len(sights))]


def faceless(sights, which):
    """Without landmarks in the frames named."""
    return [replace(sight, mesh=None) if k in which else sight for k, sight in enumerate(sights)]


def trembling(sights, pixels, seed=0):
    """Every landmark off by noise."""
    rng = np.random.default_rng(seed)
    return [Sight(s.image, s.mesh + rng.normal(0, pixels, s.mesh.shape).astype(np.float32)) for s in sights]
