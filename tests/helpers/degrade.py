"""Ways to spoil a video that metrics must notice."""

from dataclasses import replace

import numpy as np

from kptalk.evaluate.metric import FrameSample


def shifted(samples, frames):
    """The same video, late by so many frames; it starts with its first frame."""
    return [samples[0]] * frames + samples[: len(samples) - frames]


def frozen(samples, moving):
    """The same video, stuck after so many frames."""
    return [samples[min(k, moving)] for k in range(len(samples))]


def faceless(samples, which):
    """Without landmarks in the frames named."""
    return [replace(sample, mesh=None) if k in which else sample for k, sample in enumerate(samples)]


def trembling(samples, pixels, seed=0):
    """Every landmark off by noise."""
    rng = np.random.default_rng(seed)
    return [FrameSample(s.image, s.mesh + rng.normal(0, pixels, s.mesh.shape).astype(np.float32)) for s in samples]
