"""Head rotation from FaceMesh landmarks, against a template that belongs to the evaluation.

The template is fixed: the mean face of the embedded motion space as of version 0.1.0, at the 44 points that hardly move
with the expression. Training another motion space does not move what heads are measured with.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kptalk.face.geometry import align, rotation_angles
from kptalk.face.topology import STABLE_POINTS, STABLE_WEIGHTS


@cache
def head_template() -> NDArray[np.float64]:
    """The template's points (44, 3), in the order of ``STABLE_POINTS``; the distance between the eyes' middles is 1."""
    template: NDArray[np.float64] = np.load(Path(__file__).with_name("head_template.npy")).astype(np.float64)
    return template


def head_rotation(meshes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Yaw, pitch and roll (..., 3) float32 in degrees of landmarks (..., 478, 3) in pixels; LivePortrait's signs."""
    points = meshes.reshape(-1, *meshes.shape[-2:])[:, STABLE_POINTS].astype(np.float64)
    angles: NDArray[np.float32] = rotation_angles(align(points, head_template(), STABLE_WEIGHTS)[1]).astype(np.float32)
    return angles.reshape(*meshes.shape[:-2], 3)
