"""What a video shows: the part of a photo that is drawn anew, its size, and the way back into the photo."""

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from itertools import compress
from typing import Literal, Protocol

import cv2
import numpy as np

from kptalk.face.geometry import square_around
from kptalk.types import Face, Image, Portrait

CROP_SCALE = 2.4  # side of the square around a face, in sides of the face: hair, neck and shoulders
SMALLEST_DRAWN = 64  # pixels of a face's longer side, below which a photo that was reduced unasked is worth a warning
SMALLEST_SHOWN = 24  # pixels of a face's height, below which any video is: nobody sees it speak
LONGEST_FULL = 1280  # pixels; a larger photo is reduced to this for the video unless the user wants another size
MAX_BAR = 0.25  # of a photo's side: how wide a bar along its edge may be
BAR_STEP = 24  # levels of grey: less is one colour, more is another
CROP_SIZE = 512  # pixels, the papers' size
Edge = Literal["left", "right", "top", "bottom"]
EDGES: tuple[Edge, ...] = ("left", "right", "top", "bottom")


class Framing(Protocol):
    """What the video shows and what of it moves.

    ``photo`` (H, W, 3) uint8 is the still picture in the video's own size; ``portrait`` is what the renderer draws, and
    ``free`` names its edges that are the picture's own: only there may it move.
    """

    @property
    def photo(self) -> Image: ...

    @property
    def portrait(self) -> Portrait: ...

    @property
    def free(self) -> Collection[Edge]: ...

    def frames(self, drawn: Image) -> Image:
        """Video frames (T, H, W, 3) uint8 from drawn portraits (T, h, w, 3)."""


@dataclass(frozen=True)
class PhotoFraming:
    """A ``Framing`` whose portrait is a part of the photo, pixel for pixel, with its upper left corner at (x, y)."""

    photo: Image
    portrait: Portrait
    x: int
    y: int
    free: frozenset[Edge]

    def frames(self, drawn: Image) -> Image:
        height, width = drawn.shape[1:3]
        if self.photo.shape[:2] == (height, width):
            return drawn
        frames = np.repeat(self.photo[None], len(drawn), 0)
        frames[:, self.y : self.y + height, self.x : self.x + width] = drawn
        return frames


def inside_borders(image: Image) -> tuple[int, int, int, int]:
    """The part of a photo (H, W, 3) without bars and frames of one colour along its edges, as x0, y0, x1, y1."""
    height, width = image.shape[:2]
    columns = image.transpose(1, 0, 2)
    return _bar(columns), _bar(image), width - _bar(columns[::-1]), height - _bar(image[::-1])


def _bar(lines: Image) -> int:
    """How many lines (N, M, 3) of a photo, from its edge on, are a bar: one colour, and all at once another picture."""
    near = lines[: max(1, round(MAX_BAR * len(lines)))].astype(np.int16)
    colour = np.median(near[0], 0)
    flat = np.mean(np.abs(near - colour).max(-1) < BAR_STEP, 1) > 0.95
    last = int(flat.argmin())  # the bar's length; it may end in a few lines that are neither
    if last == 0:
        return 0
    differs = np.mean(np.abs(near[last : last + 4] - near[last - 1]).max(-1) > BAR_STEP, 1) > 0.6
    return last + int(differs.argmax()) + round(0.01 * len(lines)) if differs.any() else 0


def square_in_photo(face: Face, inside: tuple[int, int, int, int]) -> tuple[int, int, int]:
    """The square of a photo that is drawn, as left, top and side: moved, then shrunk, to stay ``inside`` a box."""
    x0, y0, x1, y1 = inside
    x, y, wanted = square_around(face.box, CROP_SCALE)
    side = round(min(wanted, x1 - x0, y1 - y0))
    left = round(np.clip(x - side / 2, x0, x1 - side))
    top = round(np.clip(y - side / 2, y0, y1 - side))
    return left, top, side


def full_framing(portrait: Portrait, size: int | None = None) -> PhotoFraming:
    """The ``whole_photo`` is the picture, ``size`` its longest side in pixels."""
    shown = whole_photo(portrait, size)
    x0, y0, x1, y1 = inside = inside_borders(shown.image)
    x, y, side = square_in_photo(shown.face, inside)
    own = (x == x0, x + side == x1, y == y0, y + side == y1)  # in the order of EDGES
    return PhotoFraming(shown.image, _cut(shown, x, y, side), x, y, frozenset(compress(EDGES, own)))


def crop_framing(portrait: Portrait, size: int | None = None) -> PhotoFraming:
    """The square around the face is the picture, ``size`` pixels a side (None: 512)."""
    x, y, side = square_in_photo(portrait.face, inside_borders(portrait.image))
    shown = _scaled(_cut(portrait, x, y, side), (size or CROP_SIZE) / side)
    return PhotoFraming(shown.image, shown, 0, 0, frozenset(EDGES))


def whole_photo(portrait: Portrait, size: int | None = None) -> Portrait:
    """A photo whose longest side has ``size`` pixels (None: its own, at most 1280).

    Warns if the face is under 24 pixels high in it, or under 64 where the photo was reduced to 1280.
    """
    longest = max(portrait.image.shape[:2])
    shown = _scaled(portrait, (size or min(longest, LONGEST_FULL)) / longest)
    height, width = shown.image.shape[:2]
    x0, y0, x1, y1 = shown.face.box
    reduced = size is None and longest > LONGEST_FULL
    if y1 - y0 < SMALLEST_SHOWN or (reduced and max(x1 - x0, y1 - y0) < SMALLEST_DRAWN):
        warnings.warn(
            f"the face is only {y1 - y0:.0f} pixels high in a {width}x{height} video: "
            'choose framing="crop", or a larger size',
            stacklevel=2,
        )
    return shown


def _cut(portrait: Portrait, x: int, y: int, side: int) -> Portrait:
    image = np.ascontiguousarray(portrait.image[y : y + side, x : x + side])
    return Portrait(image, Face(portrait.face.landmarks - np.array([x, y, 0], np.float32)))


def _scaled(portrait: Portrait, factor: float) -> Portrait:
    height, width = portrait.image.shape[:2]
    size = (max(2, round(width * factor)), max(2, round(height * factor)))
    scale = np.array([size[0] / width, size[1] / height, factor], np.float32)
    return Portrait(resized(portrait.image, size), Face(portrait.face.landmarks * scale)) if factor != 1 else portrait


def resized(image: Image, size: tuple[int, int]) -> Image:
    """The picture with ``size`` (width, height) pixels: reduced by areas, enlarged by cubic interpolation."""
    height, width = image.shape[:2]
    if size == (width, height):
        return image
    smooth = cv2.INTER_AREA if size[0] * size[1] < width * height else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=smooth), np.uint8)
