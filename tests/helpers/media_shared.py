"""Landmarks of the shared clips and portraits, found once a test run."""

from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

from kptalk.face.find import find_portrait
from kptalk.face.landmarks import FaceMesh
from kptalk.media.clip import read_frames
from kptalk.media.image import read_image
from kptalk.types import Portrait


@cache
def clip_landmarks(path: Path, seconds: float) -> np.ndarray:
    """(T, 478, 3) of the first seconds at 25 fps."""
    with FaceMesh(video=True) as mesh:
        return np.stack([mesh(frame).landmarks for frame in read_frames(path, Fraction(25), end=seconds)])


@cache
def portrait_of(path: Path) -> Portrait:
    """The largest face of a shared portrait."""
    return find_portrait(read_image(path))
