"""Whether landmarks lie on a face: FaceMesh fits an upright face to whatever it is given, also to one on its head.

The detectors know six points of a face themselves. Where those and the mesh's agree, and the detector is sure, there is
a face, and it is this way up: of 40 portraits in all positions right faces have 0.7 and more, wrong ones up to 0.79 at
the worst, where the right one has more.
"""

from collections.abc import Iterable

import cv2
import numpy as np

from kptalk.face.detector import Detection, detect
from kptalk.face.geometry import square_around
from kptalk.face.topology import EYE_CORNERS
from kptalk.types import Array, Face, Image

NOSE_TIP, MIDDLE_OF_LIPS = 1, [13, 14]
VIEW_SCALE = 2.0  # side of the picture in which a face is looked at again, in sides of the face
VIEW_SIDE = 256  # pixels
LEAST_CONFIDENCE = 0.3  # of the detector there
NO_EVIDENCE = -1.0


def tilt(face: Face) -> float:
    """Degrees by which a face is turned in the picture, clockwise, by the eyes' line and the mouth below it."""
    right_eye, left_eye, _, mouth = _points(face)
    down = mouth - (right_eye + left_eye) / 2
    across = left_eye - right_eye + np.array([down[1], -down[0]])
    return float(np.degrees(np.arctan2(across[1], across[0])))


def agreement(face: Face, detections: Iterable[Detection]) -> float:
    """A detector's score, less the distance of its eyes, nose and mouth from the mesh's; of the best detection.

    The distance is the mean of the four, in distances of the eyes from each other or from the mouth. 1 is the most.
    """
    return max((each.score - _distance(_points(face), each.keypoints) for each in detections), default=NO_EVIDENCE)


def evidence(image: Image, face: Face) -> float:
    """``agreement`` with what the detectors find in a picture of this face alone, enlarged and turned upright."""
    x, y, side = square_around(face.box, VIEW_SCALE)
    turn = cv2.getRotationMatrix2D((x, y), tilt(face), VIEW_SIDE / side)
    turn[:, 2] += VIEW_SIDE / 2 - np.array([x, y])
    smooth = cv2.INTER_AREA if side > VIEW_SIDE else cv2.INTER_CUBIC
    view = cv2.warpAffine(image, turn, (VIEW_SIDE, VIEW_SIDE), flags=smooth)
    landmarks = np.column_stack([face.landmarks[:, :2] @ turn[:, :2].T + turn[:, 2], face.landmarks[:, 2]])
    return agreement(Face(landmarks.astype(np.float32)), detect(view, LEAST_CONFIDENCE))


def _points(face: Face) -> Array:
    """(4, 2) the first four of a detection's key points: the eyes, the tip of the nose, the mouth."""
    points = face.landmarks[:, :2]
    return np.stack([*points[EYE_CORNERS].mean(1), points[NOSE_TIP], points[MIDDLE_OF_LIPS].mean(0)])


def _distance(own: Array, detected: Array) -> float:
    eyes = np.linalg.norm(own[0] - own[1])
    size = max(eyes, np.linalg.norm(own[3] - own[:2].mean(0)))  # one of them is short where the head is turned away
    return float(np.linalg.norm(detected[:4] - own, axis=1).mean() / size)
