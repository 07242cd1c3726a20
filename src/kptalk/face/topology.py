"""FaceMesh's landmark numbers by part of the face, and its triangles. Left and right are those of the picture."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

OVAL = np.array(
    [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377]
    + [152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
)
JAW = OVAL[7:30]  # from the height of one eye, round the chin, to the height of the other
BROWS = np.array([70, 63, 105, 66, 107, 336, 296, 334, 293, 300])
LIPS_OUTER = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185])
LIPS_INNER = np.array([78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191])
# Pairs (upper, lower) of the inner lip line, from the left corner to the right one.
LIP_PAIRS = np.array(
    [(191, 95), (80, 88), (81, 178), (82, 87), (13, 14), (312, 317), (311, 402), (310, 318), (415, 324)]
)
MOUTH_CORNERS = np.array([61, 291])
# For the two eyes: pairs (upper, lower) of the lid line from corner to corner, the corners, the iris (centre first).
LID_PAIRS = np.array(
    [
        [(246, 7), (161, 163), (160, 144), (159, 145), (158, 153), (157, 154), (173, 155)],
        [(398, 382), (384, 381), (385, 380), (386, 374), (387, 373), (388, 390), (466, 249)],
    ]
)
EYE_CORNERS = np.array([(33, 133), (362, 263)])
IRISES = np.array([range(468, 473), range(473, 478)])
# Points that hardly move with the expression: forehead, temples, nose bridge, eye corners, in front of the ears.
STABLE = np.array(
    [10, 109, 67, 103, 54, 21, 338, 297, 332, 284, 251, 151, 108, 69, 104, 337, 299, 333, 9, 8, 168, 6, 197]
    + [33, 133, 362, 263, 234, 454, 93, 323, 127, 356, 162, 389]
)
# The same with the nose, which some expressions move a little: half the weight.
_NOSE = np.array([195, 5, 4, 1, 45, 275, 51, 281, 3])
STABLE_POINTS = np.concatenate([STABLE, _NOSE])
STABLE_WEIGHTS = np.concatenate([np.ones(len(STABLE)), np.full(len(_NOSE), 0.5)])
# (898, 3) int32: FaceMesh's 852 triangles, then strips that close the left eye, the right eye and the inner lips.
TRIANGLES = np.load(Path(__file__).with_name("triangles.npy")).astype(np.int32)
# iBUG's 68 points: jaw 0 to 16, brows to 26, nose to 35, eyes to 47, outer lips to 59, inner lips.
IBUG68 = np.array(
    [127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356]
    + [70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 98, 97, 2, 326, 327]
    + [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380]
    + [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181]
    + [78, 82, 13, 312, 308, 317, 14, 87]
)


def points68(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """The iBUG points of FaceMesh's, (..., 478, 3) to (..., 68, 3)."""
    return landmarks[..., IBUG68, :]
