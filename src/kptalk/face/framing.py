"""The part of a photo that is drawn anew, its size, and the way back into the photo."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np

from kptalk.types import Face, Image, Portrait

ROOM = 2.4  # side of the square around a face, in sides of the face: hair, neck and shoulders
SMALLEST_DRAWN = 64  # pixels of a face's longer side, below which a reduced photo is worth a warning
LONGEST_FULL = 1280  # pixels; a larger photo is reduced to this for the video unless the user wants another size
CROP_SIZE = 512  # pixels, the papers' size
Edge = Literal["left", "right", "top", "bottom"]
EDGES: tuple[Edge, ...] = ("left", "right", "top", "bottom")


class Framing(Protocol):
    """What the video shows: ``photo`` (H, W, 3) uint8; of it ``portrait`` is drawn, whose edges ``free`` may move."""

    @property
    def photo(self) -> Image: ...

    @property
    def portrait(self) -> Portrait: ...

    @property
    def free(self) -> Collection[Edge]: ...

    def frames(self, drawn: Image) -> Image:
        """Video frames (T, H, W, 3) uint8 from what was drawn."""


@dataclass(frozen=True)
class PhotoFraming:
    """What the video shows and what of it moves.

    ``photo`` (H, W, 3) uint8 is the still picture in the video's own size; ``portrait`` is the part of it that is
    drawn, whose left upper corner lies at ``(x, y)`` of the photo. ``free`` names the part's edges that are the
    picture's own (left, right, top, bottom): only there may it move.
    """

    photo: Image
    portrait: Portrait
    x: int
    y: int
    free: frozenset[Edge]

    def frames(self, drawn: Image) -> Image:
        """Video frames (T, H, W, 3) from drawn portraits (T, h, w, 3): they lie in the photo pixel for pixel."""
        height, width = drawn.shape[1:3]
        if self.photo.shape[:2] == (height, width):
            return drawn
        frames = np.repeat(self.photo[None], len(drawn), 0)
        frames[:, self.y : self.y + height, self.x : self.x + width] = drawn
        return frames


def square_around(face: Face, width: int, height: int) -> tuple[int, int, int]:
    """The square of a photo that is drawn, as left, top and side: moved, then shrunk, to stay inside the photo."""
    x0, y0, x1, y1 = face.box
    side = round(min(ROOM * max(x1 - x0, y1 - y0), width, height))
    left = round(np.clip((x0 + x1 - side) / 2, 0, width - side))
    top = round(np.clip((y0 + y1 - side) / 2, 0, height - side))
    return left, top, side


def full_framing(portrait: Portrait, size: int | None = None) -> PhotoFraming:
    """The whole photo is the picture; ``size`` is its longest side in pixels (None: its own, at most 1280).

    Warns if a photo that is larger than that leaves fewer than 64 pixels of the face.
    """
    shown = whole_photo(portrait, size)
    height, width = shown.image.shape[:2]
    x, y, side = square_around(shown.face, width, height)
    own: dict[Edge, bool] = {"left": x == 0, "top": y == 0, "right": x + side == width, "bottom": y + side == height}
    free = frozenset(edge for edge, outermost in own.items() if outermost)
    return PhotoFraming(shown.image, _cut(shown, x, y, side), x, y, free)


def crop_framing(portrait: Portrait, size: int | None = None) -> PhotoFraming:
    """The square around the face is the picture, ``size`` pixels a side (None: 512)."""
    height, width = portrait.image.shape[:2]
    x, y, side = square_around(portrait.face, width, height)
    shown = _scaled(_cut(portrait, x, y, side), (size or CROP_SIZE) / side)
    return PhotoFraming(shown.image, shown, 0, 0, frozenset(EDGES))


def whole_photo(portrait: Portrait, size: int | None = None) -> Portrait:
    """A photo whose longest side has ``size`` pixels (None: its own, at most 1280).

    Warns if a photo that is larger than that leaves fewer than 64 pixels of the face.
    """
    longest = max(portrait.image.shape[:2])
    shown = _scaled(portrait, (size or min(longest, LONGEST_FULL)) / longest)
    height, width = shown.image.shape[:2]
    x0, y0, x1, y1 = shown.face.box
    if size is None and longest > LONGEST_FULL and (drawn := max(x1 - x0, y1 - y0)) < SMALLEST_DRAWN:
        warnings.warn(
            f"the face is only {drawn:.0f} pixels large in a video of {width}x{height}: "
            "choose --output crop, or a larger --size",
            stacklevel=2,
        )
    return shown


def _cut(portrait: Portrait, x: int, y: int, side: int) -> Portrait:
    image = np.ascontiguousarray(portrait.image[y : y + side, x : x + side])
    return Portrait(image, Face(portrait.face.landmarks - np.array([x, y, 0], np.float32)))


def _scaled(portrait: Portrait, factor: float) -> Portrait:
    if factor == 1:
        return portrait
    height, width = portrait.image.shape[:2]
    size = (max(2, round(width * factor)), max(2, round(height * factor)))
    image = cv2.resize(portrait.image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    scale = np.array([size[0] / width, size[1] / height, factor], np.float32)
    return Portrait(image, Face(portrait.face.landmarks * scale))
