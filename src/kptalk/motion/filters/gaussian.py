"""Zero-phase smoothing of motion as a stream: the head moves slowly, lips and lids fast, and each is smoothed as such.

The tracker's jitter is part of what the denoiser learned. The head's pose is convolved with a Gaussian of 0.1 s, the
expression with a kernel that hardly touches what speech does (down 3 dB at 8 Hz).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kptalk.face.geometry import rotation_matrix
from kptalk.motion.facemesh.space import head_expression
from kptalk.types import Array, Motion

RADIUS = 7  # frames on either side
POSE_SIGMA = 2.5  # frames at 25 fps
EXPRESSION_KERNEL = (0.15, 0.7, 0.15)


@dataclass(frozen=True)
class SmoothingState:
    """Frames still needed and the speech in them; ``before`` of them were given out already. None before the first."""

    kept: Motion | None
    activity: Array
    before: int


def start() -> SmoothingState:
    """State of a stream that has seen no frame."""
    return SmoothingState(None, np.zeros(0, np.float32), 0)


def step(motion: Motion, activity: Array, state: SmoothingState) -> tuple[Motion, Array, SmoothingState]:
    """Take in n frames and their speech activity (n,), which travels along untouched.

    Returns:
        the frames whose neighbours on both sides are known, smoothed, their activity, and the state.
    """
    if not len(motion):
        return motion, activity, state
    kept = motion if state.kept is None else Motion.concatenate([state.kept, motion])
    heard = np.concatenate([state.activity, activity])
    end = max(state.before, len(kept) - RADIUS)
    drop = max(0, end - RADIUS)
    out = _smoothed(kept)[state.before : end]
    return out, heard[state.before : end], SmoothingState(kept[drop:], heard[drop:], end - drop)


def finish(motion: Motion, activity: Array, state: SmoothingState) -> tuple[Motion, Array]:
    """The last frames and all that remain; the very last one repeats beyond the end."""
    kept = motion if state.kept is None else Motion.concatenate([state.kept, motion])
    heard = np.concatenate([state.activity, activity])
    return (_smoothed(kept) if len(kept) else kept)[state.before :], heard[state.before :]


def _smoothed(motion: Motion) -> Motion:
    offsets = np.arange(-RADIUS, RADIUS + 1)
    slow = np.exp(-0.5 * (offsets / POSE_SIGMA) ** 2)
    slow /= slow.sum()
    rotation = _convolve(motion.rotation, slow)
    expression = _convolve(head_expression(motion), np.array(EXPRESSION_KERNEL))
    return motion.with_fields(
        scale=_convolve(motion.scale, slow),
        rotation=rotation,
        translation=_convolve(motion.translation, slow),
        expression=expression @ rotation_matrix(rotation),
    )


def _convolve(values: Array, kernel: Array) -> Array:
    """Along the first axis, with the ends repeated."""
    radius = len(kernel) // 2
    padded = np.concatenate([values[:1].repeat(radius, 0), values, values[-1:].repeat(radius, 0)])
    out: Array = sum(weight * padded[i : i + len(values)] for i, weight in enumerate(kernel)).astype(np.float32)
    return out
