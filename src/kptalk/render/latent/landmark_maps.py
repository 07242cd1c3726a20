"""Landmarks as pictures, the denoiser's condition: lips, lids and irises filled, the face's lines drawn."""

import cv2
import numpy as np

from kptalk.face.topology import EYE_CORNERS, IRISES, JAW, LID_PAIRS, LIPS_INNER, LIPS_OUTER
from kptalk.types import Array, Image

N_MAPS = 5  # inner lips, outer lips, lines, open eyes, irises
NOSE = np.array([98, 97, 2, 326, 327])
EYES = [
    np.concatenate([c[:1], lids[:, 0], c[1:], lids[::-1, 1]]) for c, lids in zip(EYE_CORNERS, LID_PAIRS, strict=True)
]
LINES = ((LIPS_INNER, True), (LIPS_OUTER, True), (JAW, False), (NOSE, False), (EYES[0], True), (EYES[1], True))
_BITS = 4  # of a coordinate behind the point


def landmark_maps(points: Array, size: int) -> Image:
    """(size, size, 5) uint8 of landmarks (478, 2) in pixels of the square."""
    maps = np.zeros((N_MAPS, size, size), np.uint8)
    fixed = np.rint(points * 2**_BITS).astype(np.int32)
    cv2.fillPoly(maps[0], [fixed[LIPS_INNER]], 255, cv2.LINE_AA, _BITS)
    cv2.fillPoly(maps[1], [fixed[LIPS_OUTER]], 255, cv2.LINE_AA, _BITS)
    for line, closed in LINES:
        cv2.polylines(maps[2], [fixed[line]], closed, 255, max(1, size // 128), cv2.LINE_AA, _BITS)
    for eye, iris in zip(EYES, IRISES, strict=True):
        cv2.fillPoly(maps[3], [fixed[eye]], 255, cv2.LINE_AA, _BITS)
        cv2.fillPoly(maps[4], [fixed[iris[1:]]], 255, cv2.LINE_AA, _BITS)
    maps[4] = np.minimum(maps[3], maps[4])
    return np.ascontiguousarray(maps.transpose(1, 2, 0))
