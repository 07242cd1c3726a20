"""A tracked head made steady: what the tracker's noise adds to the pose is fitted away.

The same filter takes the noise, 0.03 to 0.2 degrees, out of the clips that the embedded model is trained on: a parabola
through nine frames at 25 fps (Savitzky and Golay, 1964). The expression in the head's own frame is kept.
"""

from fractions import Fraction
from typing import Literal

import numpy as np
from scipy.signal import savgol_filter

from kptalk.motion.facemesh.space import turn
from kptalk.types import Array, Motion

SECONDS = 0.16  # looked at on either side of a frame: four frames at 25 fps


def radius(fps: Fraction) -> int:
    """Frames on either side at a frame rate."""
    return max(1, round(SECONDS * fps))


def smooth_values(values: Array, fps: Fraction, ends: Literal["nearest", "interp"] = "nearest") -> Array:
    """Values (T, C) with each frame's replaced by that of a parabola fitted through its neighbours, (T, C) float64.

    Beyond the ends the last frame repeats (``nearest``), or the outermost parabola goes on (``interp``, which needs as
    many frames as a parabola goes through).
    """
    smoothed: Array = savgol_filter(values.astype(np.float64), 2 * radius(fps) + 1, 2, axis=0, mode=ends)
    return smoothed


def smooth(motion: Motion) -> Motion:
    """Steady the head of a motion of the space ``facemesh``; its first and last frames repeat beyond the ends."""
    scale, rotation, translation = (
        smooth_values(values, motion.fps).astype(np.float32)
        for values in (motion.scale, motion.rotation, motion.translation)
    )
    return turn(motion, rotation).with_fields(scale=scale, translation=translation)
