"""The square of a picture that the denoiser draws: the face from the lids to the chin, upright, at a fixed size.

It follows the head and not the lips, so that lips move inside it and do not shake it.
"""

import cv2
import numpy as np

from kptalk.face.topology import EYE_CORNERS
from kptalk.types import Array, Floats, Image

WIDTH = 2.5  # of the square, in distances between the eyes' middles
BELOW = 0.05  # its middle lies this far below that of eyes and chin: the chin goes down when the mouth opens
CHIN = 152


def square_middle(neutral: Floats) -> Array:
    """The square's middle (3,) in the head's frame, from the person's neutral mesh (478, 3), both in face units."""
    eyes = neutral[EYE_CORNERS].mean((0, 1))
    return np.asarray(0.5 * (eyes + neutral[CHIN]) + [0, BELOW, 0], np.float32)


def square_maps(middle: Array, scale: Floats, rotation: Floats, translation: Floats, size: int) -> Array:
    """Affine maps (T, 2, 3) from pixels of the picture to pixels of the square.

    Args:
        middle: of the square, see ``square_middle``.
        scale: (T,) pixels of a face unit.
        rotation: (T, 3, 3) of the head.
        translation: (T, 3) pixels, where the head's origin is.
        size: side of the square in its own pixels.
    """
    centre = (scale[:, None] * (middle @ rotation) + translation)[:, :2]
    across = rotation[:, 0, :2]  # where the head's own x axis points
    across = across / np.linalg.norm(across, axis=1, keepdims=True)
    zoom = (size / (WIDTH * scale))[:, None, None]
    turn = zoom * np.stack([across, np.stack([-across[:, 1], across[:, 0]], 1)], 1)
    shift = size / 2 - np.einsum("tij,tj->ti", turn, centre)
    return np.concatenate([turn, shift[..., None]], 2).astype(np.float32)


def apply_map(affine: Array, points: Floats) -> Array:
    """Points (n, 2 or more) of the picture in the square, (n, 2)."""
    return (points[:, :2] @ affine[:, :2].T + affine[:, 2]).astype(np.float32)


def cut_square(image: Image, affine: Array, size: int) -> Image:
    """The square (size, size, 3) of a picture; beyond the picture's edge its border is repeated."""
    finer = max(1, round(float(1 / np.sqrt(abs(np.linalg.det(affine[:, :2]))))))  # picture pixels in one of the square
    wide = finer * affine
    wide[:, 2] += (finer - 1) / 2
    out = cv2.warpAffine(
        image, wide, (finer * size, finer * size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cv2.resize(out, (size, size), interpolation=cv2.INTER_AREA) if finer > 1 else out, np.uint8)
