"""Openings of lips and lids, the direction of the gaze and the shape of the lips, measured on FaceMesh's landmarks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptalk.face.geometry import align
from kptalk.face.topology import EYE_CORNERS, IRISES, LID_PAIRS, LIPS_INNER, LIPS_OUTER, STABLE_POINTS, STABLE_WEIGHTS
from kptalk.types import Array

CHIN = 152
LIP_SCALE = 20.0  # per eye distance: makes the lips' movement about 1


def lip_opening(mesh: Array) -> Array:
    """Gap between the middle of the inner lips, (..., 478, 3) to (...), in the mesh's units; x and y only."""
    upper, lower = mesh[..., 13, :2], mesh[..., 14, :2]
    return np.asarray(np.linalg.norm(upper - lower, axis=-1) * np.where(lower[..., 1] >= upper[..., 1], 1, -1))


def lip_gap(mesh: NDArray[np.floating[Any]]) -> Array:
    """Gap between the middle of the inner lips over the mouth's width, (..., 478, 2 or 3) to (...); x and y only."""
    mesh = np.asarray(mesh, np.float32)
    width = np.linalg.norm(mesh[..., LIPS_INNER[0], :2] - mesh[..., LIPS_INNER[10], :2], axis=-1)
    return np.asarray(np.abs(lip_opening(mesh)) / np.maximum(width, 1e-3))


def lid_opening(mesh: Array) -> Array:
    """Mean gap of the lids over the eye's width, (..., 478, 3) to (..., 2) for the left and the right eye."""
    gap = np.linalg.norm(mesh[..., LID_PAIRS[:, :, 0], :2] - mesh[..., LID_PAIRS[:, :, 1], :2], axis=-1).mean(-1)
    width = np.linalg.norm(mesh[..., EYE_CORNERS[:, 0], :2] - mesh[..., EYE_CORNERS[:, 1], :2], axis=-1)
    return np.asarray(gap / width)


def gaze(mesh: Array) -> Array:
    """Iris centre from the middle of the corners over half the eye's width, mean of both eyes, (..., 2) right, down."""
    corners = mesh[..., EYE_CORNERS, :2]
    middle, width = corners.mean(-2), np.linalg.norm(corners[..., 0, :] - corners[..., 1, :], axis=-1)
    return np.asarray(((mesh[..., IRISES[:, 0], :2] - middle) / (0.5 * width[..., None])).mean(-2))


def lip_shape(meshes: Array, stable_points: Array) -> Array:
    """Shape of lips and chin in the head's own frame: 22 lip points (x, y, z), then the chin's height and depth.

    The sync model reads it. Left and right are averaged: speech moves both alike, tracking errors do not.

    Args:
        meshes: (T, 478, 3) FaceMesh landmarks in pixels.
        stable_points: (44, 3) the mean face's ``STABLE_POINTS``, of any unit; the result is in 1/20 of it.

    Returns:
        (T, 68) float32.
    """
    held = meshes[:, STABLE_POINTS].astype(np.float64)
    scale, rotation, translation = align(held, stable_points.astype(np.float64), STABLE_WEIGHTS)
    points = meshes[:, [*LIPS_INNER, *LIPS_OUTER, CHIN]] - translation[:, None]
    points = points @ np.swapaxes(rotation, -1, -2) / scale[:, None, None]
    # Both rings run from the left corner, 0, along the lower lip to the right one, 10, and back along the upper lip.
    left = np.array([0, 1, 2, 3, 4, 5, 15, 16, 17, 18, 19])
    halves = []
    for ring in (points[:, :20], points[:, 20:40]):
        mirrored = ring[:, (10 - left) % 20] * np.array([-1, 1, 1])
        halves.append((ring[:, left] + mirrored).reshape(len(points), -1) / 2)
    return np.asarray(LIP_SCALE * np.concatenate([*halves, points[:, 40, 1:]], 1), np.float32)
