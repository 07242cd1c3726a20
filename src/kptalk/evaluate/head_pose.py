"""Head rotation from FaceMesh landmarks, against a template that belongs to the evaluation.

The template is fixed: the mean face of the embedded motion space as of version 0.1.0, at the 44 points that hardly move
with the expression. Training another motion space does not move what heads are measured with.
"""

from functools import cache
from pathlib import Path

import numpy as np

from kptalk.face.geometry import align, rotation_angles
from kptalk.face.topology import STABLE_POINTS, STABLE_WEIGHTS
from kptalk.types import Array, Floats


@cache
def head_template() -> Floats:
    """The template's points (44, 3), in the order of ``STABLE_POINTS``; the distance between the eyes' middles is 1."""
    return np.asarray(np.load(Path(__file__).with_name("head_template.npy")), np.float64)


def head_rotation(meshes: Array) -> Array:
    """Yaw, pitch and roll (..., 3) float32 in degrees of landmarks (..., 478, 3) in pixels; LivePortrait's signs."""
    points = meshes.reshape(-1, *meshes.shape[-2:])[:, STABLE_POINTS].astype(np.float64)
    angles = rotation_angles(align(points, head_template(), STABLE_WEIGHTS)[1])
    return np.asarray(angles.reshape(*meshes.shape[:-2], 3), np.float32)
