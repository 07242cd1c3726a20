"""A tracked head made steady: what the tracker's noise adds to the pose is fitted away.

The same filter takes the noise, 0.03 to 0.2 degrees, out of the clips that the embedded model is trained on: a parabola
through nine frames at 25 fps (Savitzky and Golay, 1964). The expression in the head's own frame is kept.
"""

from fractions import Fraction
from typing import Literal

import numpy as np

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
    reach, length = radius(fps), len(values)
    parabola = np.vander(np.arange(-reach, reach + 1.0), 3)
    fit = parabola @ np.linalg.pinv(parabola)  # row k: the parabola through a window's frames, at its frame k
    padded = np.pad(values.astype(np.float64), ((reach, reach), (0, 0)), "edge")
    smoothed: Array = sum(weight * padded[k : k + length] for k, weight in enumerate(fit[reach]))
    if ends == "interp":
        smoothed[:reach] = fit[:reach] @ values[: 2 * reach + 1]
        smoothed[-reach:] = fit[reach + 1 :] @ values[-2 * reach - 1 :]
    return smoothed


def smooth(motion: Motion) -> Motion:
    """Steady the head of a motion of the space ``facemesh``; its first and last frames repeat beyond the ends."""
    scale, rotation, translation = (
        smooth_values(values, motion.fps).astype(np.float32)
        for values in (motion.scale, motion.rotation, motion.translation)
    )
    return turn(motion, rotation).with_fields(scale=scale, translation=translation)
