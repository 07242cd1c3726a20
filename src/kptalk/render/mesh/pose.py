"""How the head of the photo moves, and how far it can be turned before it looks wrong."""

from typing import NamedTuple

import numpy as np

from kptalk.face.geometry import rotation_matrix
from kptalk.motion.facemesh.space import FaceMeshSource, turn
from kptalk.types import Array, Motion

MAX_YAW, MAX_PITCH, MAX_ROLL = 25.0, 20.0, 20.0  # degrees from the photo's own pose
TURNED_YAW = 12.0  # degrees of yaw from which a photo hides one cheek
MAX_YAW_BACK = 8.0  # degrees a turned photo may be turned towards the side it hides
PROFILE_YAW = 35.0  # degrees of yaw from the camera beyond which the far eye and cheek are crushed
MIN_YAW_RANGE = 5.0  # degrees that a photo may always be turned further away
MAX_SCALE_CHANGE = 0.2  # relative
MAX_SHIFT = 0.5  # face units
EASE_FROM = 0.85  # of a limit: poses up to here are left as they are


class RigidMotion(NamedTuple):
    """How the head moves from the photo to a frame, in 3-D pixels: q -> q @ matrix + offset; (3, 3) and (3,)."""

    matrix: Array
    offset: Array

    def apply(self, points: Array) -> Array:
        """(..., 3) to (..., 3)."""
        return np.asarray(points @ self.matrix + self.offset)


def rigid_motion(source: FaceMeshSource, motion: Motion, frame: int) -> RigidMotion:
    """How the head of the photo moves to frame ``frame`` of a motion."""
    own = source.motion
    back = rotation_matrix(own.rotation[0]).T / own.scale[0]
    matrix = back @ rotation_matrix(motion.rotation[frame]) * motion.scale[frame]
    start = source.origin + source.unit * own.translation[0]
    end = source.origin + source.unit * motion.translation[frame]
    return RigidMotion(matrix.astype(np.float32), (end - start @ matrix).astype(np.float32))


def clamp_pose(source: FaceMeshSource, motion: Motion) -> Motion:
    """Hold a motion's pose within what the photo can show; small motions are left as they are.

    Towards its limit a pose slows down smoothly. A photo that is turned by more than 12 degrees is not turned back by
    more than 8: the cheek that would come into sight is not in the picture. No photo is turned to a profile.
    """
    own = source.motion
    low, high = np.array([-MAX_YAW, -MAX_PITCH, -MAX_ROLL]), np.array([MAX_YAW, MAX_PITCH, MAX_ROLL])
    yaw = float(own.rotation[0, 0])
    towards = MAX_YAW_BACK + (MAX_YAW - MAX_YAW_BACK) * float(np.clip((TURNED_YAW + 4 - abs(yaw)) / 4, 0, 1))
    further = float(np.clip(PROFILE_YAW - abs(yaw), MIN_YAW_RANGE, MAX_YAW))
    low[0], high[0] = (-towards, further) if yaw > 0 else (-further, towards)
    rotation = own.rotation + _soft(motion.rotation - own.rotation, low, high)
    scale = own.scale * (1 + _soft(motion.scale / own.scale - 1, -MAX_SCALE_CHANGE, MAX_SCALE_CHANGE))
    translation = own.translation + _soft(motion.translation - own.translation, -MAX_SHIFT, MAX_SHIFT)
    turned = turn(motion, rotation.astype(np.float32))
    return turned.with_fields(scale=scale.astype(np.float32), translation=translation.astype(np.float32))


def _soft(x: Array, low: Array | float, high: Array | float) -> Array:
    """Identity up to a share of the limit, then a smooth approach to it."""
    limit = np.where(x < 0, -low, high)
    part = np.abs(x) / limit
    eased = EASE_FROM + (1 - EASE_FROM) * np.tanh((part - EASE_FROM) / (1 - EASE_FROM))
    return np.asarray(np.sign(x) * limit * np.where(part < EASE_FROM, part, eased))
