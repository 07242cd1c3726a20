"""Mouth and eyes among LivePortrait's keypoints."""

import numpy as np

from kptalk.motion.space import Region
from kptalk.types import Array

LIPS = [6, 12, 14, 17, 19, 20]  # keypoints that move the lips
EYES = [11, 13, 15, 16, 18]  # and those that move lids and irises


def region(name: Region, change: Array) -> Array:
    """A change of the expression (T, 21, 3) without what the keypoints of other regions do."""
    keypoints = LIPS if name == "mouth" else EYES
    part = np.zeros_like(change)
    part[:, keypoints] = change[:, keypoints]
    return part
