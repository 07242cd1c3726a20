"""How far a photo can be turned before it looks wrong."""

from __future__ import annotations

import numpy as np

from kptalk.motion.facemesh.space import FaceMeshSource, turn
from kptalk.types import Array, Motion

YAW, PITCH, ROLL = 25.0, 20.0, 20.0  # degrees from the photo's own pose
TURNED = 12.0  # degrees of yaw from which a photo hides one cheek
HIDDEN = 8.0  # degrees a turned photo may be turned towards the side it hides
PROFILE = 35.0  # degrees of yaw from the camera beyond which the far eye and cheek are crushed
AWAY = 5.0  # degrees that a photo may always be turned further away
SCALE = 0.2  # relative
SHIFT = 0.5  # face units
EASE = 0.85  # of a limit: poses up to here are left as they are


def clamp_pose(source: FaceMeshSource, motion: Motion) -> Motion:
    """Hold a motion's pose within what the photo can show; small motions are left as they are.

    Towards its limit a pose slows down smoothly. A photo that is turned by more than 12 degrees is not turned back by
    more than 8: the cheek that would come into sight is not in the picture. No photo is turned to a profile.
    """
    own = source.motion
    away = motion.rotation - own.rotation
    low, high = np.array([-YAW, -PITCH, -ROLL]), np.array([YAW, PITCH, ROLL])
    yaw = float(own.rotation[0, 0])
    towards = HIDDEN + (YAW - HIDDEN) * float(np.clip((TURNED + 4 - abs(yaw)) / 4, 0, 1))
    further = float(np.clip(PROFILE - abs(yaw), AWAY, YAW))
    low[0], high[0] = (-towards, further) if yaw > 0 else (-further, towards)
    rotation = own.rotation + _soft(away, low, high)
    scale = own.scale * (1 + _soft(motion.scale / own.scale - 1, np.array([-SCALE]), np.array([SCALE])))
    limit = np.array([SHIFT] * 3)
    translation = own.translation + _soft(motion.translation - own.translation, -limit, limit)
    turned = turn(motion, rotation.astype(np.float32))
    return turned.with_fields(scale=scale.astype(np.float32), translation=translation.astype(np.float32))


def _soft(x: Array, low: Array, high: Array) -> Array:
    """Identity up to a share of the limit, then a smooth approach to it."""
    limit = np.where(x < 0, -low, high)
    part = np.abs(x) / limit
    eased = np.where(part < EASE, part, EASE + (1 - EASE) * np.tanh((part - EASE) / (1 - EASE)))
    return np.asarray(np.sign(x) * limit * eased)
