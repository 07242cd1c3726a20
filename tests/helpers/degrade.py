"""Ways to spoil a video that metrics must notice."""

from dataclasses import replace

import numpy as np

from kptalk.evaluate.metric import Sight


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
