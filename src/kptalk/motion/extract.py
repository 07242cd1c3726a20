"""Motion of a person in a video: the driver of a pose."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil
from os import PathLike

import numpy as np

from kptalk.errors import FaceNotFound
from kptalk.face.landmarks import FaceMesh
from kptalk.media.clip import read_frames
from kptalk.motion.facemesh import FaceMeshSpace
from kptalk.motion.generate import FPS
from kptalk.motion.rotation import rotation_angles
from kptalk.types import N_KEYPOINTS, Motion


def pose_of_video(
    space: FaceMeshSpace,
    path: str | PathLike[str],
    seconds: Fraction | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Motion:
    """Scale, rotation and translation of the largest face in a video, at 25 fps; the expression is left at zero.

    Frames without a face hold the last pose.

    Args:
        space: the motion space.
        path: the video.
        seconds: where to stop, counted from the first frame with a face; None for the whole video.
        progress: told of the frames done and, where ``seconds`` tells it, of how many there are at most.

    Raises:
        InputError: the video cannot be read.
        FaceNotFound: no frame has a face.
    """
    landmarks = []
    wanted = None if seconds is None else max(1, ceil(seconds * FPS))
    with FaceMesh(video=True) as mesh:
        for image in read_frames(path, FPS):
            found = mesh(image)
            if found:
                landmarks.append(found[0].landmarks)
            elif landmarks:
                landmarks.append(landmarks[-1])
            if progress:
                progress(len(landmarks), wanted)
            if len(landmarks) == wanted:
                break
    if not landmarks:
        raise FaceNotFound(f"no face found in the video {path}")
    scale, rotation, translation = space.pose(np.stack(landmarks))
    n = len(scale)
    return Motion(
        scale=(scale[:, None] / scale[0]).astype(np.float32),
        rotation=rotation_angles(rotation).astype(np.float32),
        translation=((translation - translation[0]) / scale[0]).astype(np.float32),
        expression=np.zeros((n, N_KEYPOINTS, 3), np.float32),
        fps=FPS,
        space=space.id,
    )
