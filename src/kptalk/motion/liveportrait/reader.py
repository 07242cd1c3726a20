"""Motion of the space ``liveportrait`` from a video: the networks look at one square, so that they see movement."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from kptalk.face.alignment import Square, cut, square_of
from kptalk.motion.liveportrait.space import CROP, LivePortraitSpace
from kptalk.types import Face, Image, Motion

CROP_SCALE = 2.2  # side of the square, in sides of the face: as LivePortrait cuts driving videos
RECENTER_AT = 0.15  # of the square's side: how far the face's own square may be from it
RESCALE_AT = 1.3  # how many times as large or small


@dataclass(frozen=True)
class CropState:
    """Where a stream stands: the square of the first frame, and the one that is looked at now."""

    fps: Fraction
    first: Square | None = None
    now: Square | None = None


class LivePortraitReader:
    """Reads one square, placed at the first frame's face and level with the picture.

    Where the face leaves its middle or changes its size, the square is placed anew; the motion stays that of the first
    square: x = s (x_c R + delta) + t holds in either, and the squares' places and sizes are known.
    """

    def __init__(self, space: LivePortraitSpace) -> None:
        self.space = space

    def start(self, fps: Fraction) -> CropState:
        return CropState(fps)

    def step(self, images: Sequence[Image], faces: Sequence[Face], state: CropState) -> tuple[Motion, CropState]:
        """See ``MotionReader``; every frame is known at once."""
        first, now = state.first, state.now
        squares = []
        for face in faces:
            wanted = square_of(face, upright=False, scale=CROP_SCALE)
            if now is None or not _fits(wanted, now):
                now = wanted
            first = first or now
            squares.append(now)
        assert first is not None
        crops = np.stack([cut(image, square, CROP) for image, square in zip(images, squares, strict=True)])
        motion = self.space.read(crops, state.fps)[1]
        size = np.array([[square.side / first.side] for square in squares], np.float32)
        away = np.array([(square.x - first.x, square.y - first.y, 0) for square in squares], np.float32)
        placed = motion.with_fields(
            scale=motion.scale * size, translation=motion.translation * size + away / (first.side / 2)
        )
        return placed, CropState(state.fps, first, now)

    def finish(self, state: CropState) -> None:
        """See ``MotionReader``: nothing is held back."""


def _fits(wanted: Square, now: Square) -> bool:
    away = max(abs(wanted.x - now.x), abs(wanted.y - now.y))
    return away < RECENTER_AT * now.side and 1 / RESCALE_AT < wanted.side / now.side < RESCALE_AT
