"""The style of a person in a video: how much and how fast the head moves, the mouth, the rest of the face, the lids."""

import numpy as np

from kptalk.errors import MotionError
from kptalk.face.measures import lid_opening, lip_opening
from kptalk.motion.facemesh.space import FaceMeshSpace, to_head_frame
from kptalk.motion.filters.resample import resample
from kptalk.motion.head import FPS, Doubles, HeadModel, style_of
from kptalk.types import MODEL_FPS, Floats, Motion

SHORTEST = 8 * FPS  # frames; the spread of fewer is not that of a person
SHUT, OPEN = 0.55, 0.75  # of the neutral opening of the lids: where a blink begins and ends


def style_of_motion(space: FaceMeshSpace, motion: Motion, model: HeadModel) -> Doubles:
    """Style (17,) of the person of a motion.

    Raises:
        MotionError: the motion is of another space, or too short.
    """
    motion.require_space(space.id, space.keypoints)
    motion = resample(motion, MODEL_FPS)
    if len(motion) < SHORTEST:
        raise MotionError(f"the style is of {len(motion) / FPS:.1f} s of motion: give {SHORTEST // FPS} s or more")
    pose = np.concatenate([motion.scale / np.median(motion.scale), motion.rotation, motion.translation], 1)
    return np.concatenate([style_of(pose), manner(space, to_head_frame(motion)) - model.usual_manner])


def manner(space: FaceMeshSpace, expression: Floats) -> Doubles:
    """Logarithms (3,) of how wide the mouth opens, how much the rest of the face moves, blinks per minute.

    Of head-frame expressions (T, K, 3) at 25 fps from the neutral face, lids and gaze included.
    """
    change = np.asarray(expression, np.float32)
    meshes = space.template + space.decode(change)
    others = change - space.region("mouth", change)
    others = others - space.region("eyes", others)
    face = np.sqrt(space.decode(others).var(0).sum(-1).mean())
    low, high = np.quantile(lip_opening(meshes), [0.05, 0.95])
    lids, open_, blinks = lid_opening(meshes).mean(-1) / lid_opening(space.template).mean(), True, 0.5
    for opening in lids:
        if open_ and opening < SHUT:
            open_, blinks = False, blinks + 1
        open_ = open_ or bool(opening > OPEN)
    return np.log(np.array([high - low, face, 60 * FPS * blinks / len(lids)]) + 1e-6)
