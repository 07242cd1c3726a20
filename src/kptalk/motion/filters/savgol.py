"""A tracked head made steady, as a stream: what the tracker's noise adds to the pose is fitted away.

The same filter takes the noise, 0.03 to 0.2 degrees, out of the clips that the embedded weights are trained on: a
parabola through nine frames at 25 fps (Savitzky and Golay, 1964). The expression in the head's own frame is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import convolve1d
from scipy.signal import savgol_coeffs

from kptalk.motion.facemesh.space import turn
from kptalk.types import Motion

SECONDS = 0.16  # looked at on either side of a frame: four frames at 25 fps


@dataclass(frozen=True)
class SteadyState:
    """Frames still needed, and how many of them were given out already. None before the first frame."""

    kept: Motion | None = None
    before: int = 0


def step(motion: Motion, state: SteadyState) -> tuple[Motion, SteadyState]:
    """Take in n frames of the space ``facemesh``; returns those whose neighbours on both sides are known, steadied."""
    kept = motion if state.kept is None else Motion.concatenate([state.kept, motion])
    radius = _radius(kept)
    end = max(state.before, len(kept) - radius)
    drop = max(0, end - radius)
    out = _steadied(kept)[state.before : end] if end > state.before else kept[:0]
    return out, replace(state, kept=kept[drop:], before=end - drop)


def finish(state: SteadyState) -> Motion | None:
    """The frames that remain; the very last one repeats beyond the end. None if there was no frame at all."""
    return None if state.kept is None else _steadied(state.kept)[state.before :]


def _radius(motion: Motion) -> int:
    return max(1, round(SECONDS * motion.fps))


def _steadied(motion: Motion) -> Motion:
    radius = _radius(motion)
    kernel = savgol_coeffs(2 * radius + 1, 2)
    scale, rotation, translation = (
        convolve1d(values.astype(np.float64), kernel, axis=0, mode="nearest").astype(np.float32)
        for values in (motion.scale, motion.rotation, motion.translation)
    )
    return turn(motion, rotation).with_fields(scale=scale, translation=translation)
