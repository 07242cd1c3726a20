"""A tracked head made steady: what the tracker's noise adds to the pose is fitted away.

The same filter takes the noise, 0.03 to 0.2 degrees, out of the clips that the embedded model is trained on: a parabola
through nine frames at 25 fps (Savitzky and Golay, 1964). The expression in the head's own frame is kept.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.ndimage import convolve1d
from scipy.signal import savgol_coeffs

from kptalk.motion.facemesh.space import turn
from kptalk.types import Motion

SECONDS = 0.16  # looked at on either side of a frame: four frames at 25 fps


def radius(fps: Fraction) -> int:
    """Frames on either side at a frame rate."""
    return max(1, round(SECONDS * fps))


def smooth(motion: Motion) -> Motion:
    """Steady the head of a motion of the space ``facemesh``; its first and last frames repeat beyond the ends."""
    kernel = savgol_coeffs(2 * radius(motion.fps) + 1, 2)
    scale, rotation, translation = (
        convolve1d(values.astype(np.float64), kernel, axis=0, mode="nearest").astype(np.float32)
        for values in (motion.scale, motion.rotation, motion.translation)
    )
    return turn(motion, rotation).with_fields(scale=scale, translation=translation)
