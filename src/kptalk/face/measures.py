"""Openings of lips and lids and the direction of the gaze, measured on FaceMesh's landmarks."""

import numpy as np

from kptalk.face.topology import EYE_CORNERS, IRISES, LID_PAIRS
from kptalk.types import Array


def lip_opening(mesh: Array) -> Array:
    """Gap between the middle of the inner lips, (..., 478, 3) to (...), in the mesh's units; x and y only."""
    upper, lower = mesh[..., 13, :2], mesh[..., 14, :2]
    opening: Array = np.linalg.norm(upper - lower, axis=-1) * np.where(lower[..., 1] >= upper[..., 1], 1, -1)
    return opening


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
