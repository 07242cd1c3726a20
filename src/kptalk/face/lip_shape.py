"""The shape of lips and chin as the sync model reads it."""

from __future__ import annotations

import numpy as np

from kptalk.face.geometry import align
from kptalk.face.topology import LIPS_INNER, LIPS_OUTER, STABLE_POINTS, STABLE_WEIGHTS
from kptalk.types import Array

CHIN = 152
_SCALE = 20.0  # per eye distance: makes the lips' movement about 1


def lip_shape(meshes: Array, stable_points: Array) -> Array:
    """Shape of lips and chin in the head's own frame: 22 lip points (x, y, z), then the chin's height and depth.

    Left and right are averaged: speech moves both alike, tracking errors do not.

    Args:
        meshes: (T, 478, 3) FaceMesh landmarks in pixels.
        stable_points: (44, 3) the mean face's ``STABLE_POINTS``, of any unit; the result is in 1/20 of it.

    Returns:
        (T, 68) float32.
    """
    scale, rotation, translation = align(
        meshes[:, STABLE_POINTS].astype(np.float64), stable_points.astype(np.float64), STABLE_WEIGHTS
    )
    points = meshes[:, [*LIPS_INNER, *LIPS_OUTER, CHIN]] - translation[:, None]
    points = points @ np.swapaxes(rotation, -1, -2) / scale[:, None, None]
    # Both rings run from the left corner, 0, along the lower lip to the right one, 10, and back along the upper lip.
    left = np.array([0, 1, 2, 3, 4, 5, 15, 16, 17, 18, 19])
    halves = []
    for ring in (points[:, :20], points[:, 20:40]):
        mirrored = ring[:, (10 - left) % 20] * np.array([-1, 1, 1])
        halves.append((ring[:, left] + mirrored).reshape(len(points), -1) / 2)
    shape: Array = (_SCALE * np.concatenate([*halves, points[:, 40, 1:]], 1)).astype(np.float32)
    return shape
