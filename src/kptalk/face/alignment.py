"""The upright square around a face that LivePortrait's networks see, and the way back into the photo.

The reference for official weights (KDTalker) cuts with dlib's 68 landmarks a box that is generally not square, and
squeezes it to 256 x 256. Here FaceMesh's landmarks give a square, so the aspect ratio is kept, framed as LivePortrait's
own cropper frames; frames are not comparable pixel by pixel with the reference's.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from kptalk.face.framing import CROP_SIZE, EDGES, Edge, resized, whole_photo
from kptalk.face.geometry import smoothstep, square_around
from kptalk.face.topology import BROWS, EYE_CORNERS, JAW, LIPS_OUTER
from kptalk.types import Array, Face, Floats, Image, Portrait

NETWORK_SIZE = 256  # pixels, side of what the networks see
CROP_SCALE = 2.3  # side of the square, in sides of the face from the brows to the chin
UPWARDS = 0.125  # of the side: how far the square's middle lies above the face's
ROUND, FEATHER = 0.25, 0.12  # of the side: radius of the mask's corners, and how wide it fades
CUBIC, REPEAT = cv2.INTER_CUBIC, cv2.BORDER_REPLICATE
FACE = np.concatenate([JAW, BROWS, LIPS_OUTER])  # what LivePortrait's landmarks cover: nothing above the brows


@dataclass(frozen=True)
class Square:
    """A square of a picture: middle (x, y), side, both in pixels, and ``angle`` in radians, clockwise."""

    x: float
    y: float
    side: float
    angle: float

    def to_picture(self, size: int) -> Array:
        """(2, 3) affine matrix: pixel (column, row) of the square drawn ``size`` wide, to pixel of the picture."""
        turn = self.side / size * _turn(self.angle)
        middle = np.array([self.x, self.y]) - 0.5 - turn @ [(size - 1) / 2, (size - 1) / 2]
        return np.column_stack([turn, middle]).astype(np.float32)

    def inside(self, points: Floats) -> Array:
        """Points (..., 2) in pixels of the picture, from -0.5 to 0.5 across the square."""
        away = (points - np.array([self.x, self.y])) / self.side
        return np.asarray((away @ _turn(self.angle)).astype(np.float32))


def _turn(angle: float) -> NDArray[np.float64]:
    """(2, 2): as columns, right and down of a square turned by ``angle`` radians, clockwise."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def square_of(face: Face, upright: bool = True, scale: float = CROP_SCALE) -> Square:
    """The square around a face.

    Args:
        face: found in a picture.
        upright: whether the square turns with the face.
        scale: its side, in sides of the face.
    """
    points = face.landmarks[:, :2].astype(np.float64)
    down = points[LIPS_OUTER].mean(0) - points[EYE_CORNERS].mean((0, 1))
    angle = float(np.arctan2(-down[0], down[1])) if upright else 0.0
    turn = _turn(angle)
    level = points[FACE] @ turn  # along the square's own axes
    x, y, side = square_around((*level.min(0), *level.max(0)), scale)
    x, y = turn @ (x, y - UPWARDS * side)
    return Square(float(x), float(y), side, angle)


def cut(image: Image, square: Square, size: int) -> Image:
    """The square of a picture, (size, size, 3); beyond the picture its edge repeats."""
    finer = max(1, int(np.ceil(square.side / size)))  # reduced by areas, not by leaving pixels out
    large = (finer * size, finer * size)
    matrix = square.to_picture(finer * size)
    drawn = cv2.warpAffine(image, matrix, large, flags=CUBIC | cv2.WARP_INVERSE_MAP, borderMode=REPEAT)
    return resized(drawn, (size, size))


@dataclass(frozen=True)
class AlignedFraming:
    """A ``Framing`` for LivePortrait: ``portrait`` is what the networks see, the upright square, 256 x 256.

    ``square`` lies in the photo; None where the square is the whole picture.
    """

    photo: Image
    portrait: Portrait
    square: Square | None
    free: frozenset[Edge]

    def frames(self, drawn: Image) -> Image:
        """Video frames (T, H, W, 3) from drawn squares (T, 512, 512, 3)."""
        width = self.photo.shape[1]
        if self.square is None:
            return drawn if drawn.shape[2] == width else np.stack([resized(d, (width, width)) for d in drawn])
        left, top, alpha = self._mask
        rows, columns = alpha.shape
        still = np.ascontiguousarray(self.photo[top : top + rows, left : left + columns])
        size = max(1, min(drawn.shape[1], round(self.square.side)))
        matrix = self.square.to_picture(size)
        matrix[:, 2] -= (left, top)
        frames = np.repeat(self.photo[None], len(drawn), 0)
        for frame, picture in zip(frames, drawn, strict=True):
            small = resized(picture, (size, size))
            laid = cv2.warpAffine(small, matrix, (columns, rows), flags=CUBIC, borderMode=REPEAT)
            frame[top : top + rows, left : left + columns] = cv2.blendLinear(laid, still, alpha, 1 - alpha)
        return frames

    @cached_property
    def _mask(self) -> tuple[int, int, Array]:
        assert self.square is not None
        return mask(self.square, *self.photo.shape[1::-1])


def aligned_crop(portrait: Portrait, size: int | None = None) -> AlignedFraming:
    """The upright square is the picture, ``size`` pixels a side (None: 512)."""
    square = square_of(portrait.face)
    photo = cut(portrait.image, square, size or CROP_SIZE)
    return AlignedFraming(photo, _seen(portrait, square), None, frozenset(EDGES))


def aligned_full(portrait: Portrait, size: int | None = None) -> AlignedFraming:
    """The ``whole_photo`` is the picture, ``size`` its longest side in pixels."""
    shown = whole_photo(portrait, size)
    return AlignedFraming(shown.image, _seen(portrait, square_of(portrait.face)), square_of(shown.face), frozenset())


def _seen(portrait: Portrait, square: Square) -> Portrait:
    """The square as the networks see it, and the face in its pixels."""
    placed = (square.inside(portrait.face.landmarks[:, :2]) + 0.5) * NETWORK_SIZE
    depth = portrait.face.landmarks[:, 2:] * np.float32(NETWORK_SIZE / square.side)
    image = resized(cut(portrait.image, square, CROP_SIZE), (NETWORK_SIZE, NETWORK_SIZE))
    return Portrait(image, Face(np.concatenate([placed, depth], 1)))


def mask(square: Square, width: int, height: int) -> tuple[int, int, Array]:
    """How a square is laid into a photo of that size: rounded, and fading to nothing towards its edge.

    Returns:
        left and top of the part of the photo that the square reaches, and how much of the square shows there, (h, w)
        float32 from 0 to 1.
    """
    corners = square.to_picture(2) @ np.array([[-0.5, 1.5, 1.5, -0.5], [-0.5, -0.5, 1.5, 1.5], [1, 1, 1, 1]])
    low, high = np.floor(corners.min(1)).astype(int), np.ceil(corners.max(1)).astype(int) + 1
    left, top = np.clip(low, 0, [width - 1, height - 1])
    right, bottom = np.clip(high, [left + 1, top + 1], [width, height])
    points = np.stack(np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5), -1)
    beyond = np.abs(square.inside(points)) - (0.5 - ROUND)
    depth = ROUND - np.linalg.norm(np.maximum(beyond, 0), axis=-1) - np.minimum(beyond.max(-1), 0)
    return int(left), int(top), smoothstep(depth / FEATHER).astype(np.float32)
