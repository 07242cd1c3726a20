"""Follows the largest face through the frames of a video, also one that is small in the picture."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np

from kptalk.face.detector import detect_boxes
from kptalk.face.find import CROP_SCALE, SMALLEST_CROP
from kptalk.face.geometry import square_around
from kptalk.face.landmarks import FaceMesh
from kptalk.types import Array, Face, Image

RECENTER_AT = 0.15  # of the window's side: how far the face may be from its middle
RESCALE_AT = 1.4  # times as large or small as when the window was placed
SETTLING = 3  # more looks at the first frame: each begins where the last one found the face, the first at a mere box


class FaceFollower(AbstractContextManager["FaceFollower"]):
    """The largest face in one frame after the other.

    FaceMesh finds no face that takes up less than about a fifth of the picture. Where it finds none, the detectors for
    small faces look for one, and FaceMesh is given a window around it that then moves with the face.
    """

    def __init__(self) -> None:
        self._mesh = FaceMesh(video=True)
        self._window: tuple[int, int, int] | None = None  # left, top, side in pixels
        self._settled = False

    def __exit__(self, *_: object) -> None:
        self._mesh.__exit__()

    def __call__(self, image: Image) -> Face | None:
        """The face in the next frame, (H, W, 3) uint8 RGB; None where there is none."""
        face = self._track(image) if self._window is None else self._track_in_window(image)
        if face is None and len(boxes := detect_boxes(image)):
            self._place_window(boxes[np.argmax((boxes[:, 2:] - boxes[:, :2]).max(1))])
            face = self._track_in_window(image)
        return face

    def _place_window(self, box: Sequence[float] | Array) -> None:
        x, y, side = square_around(box, CROP_SCALE)
        side = round(side)
        self._window = round(x - side / 2), round(y - side / 2), side
        self._mesh.reset()  # else it would look where the face was in another window
        self._settled = False

    def _track(self, picture: Image) -> Face | None:
        """What FaceMesh finds in the next picture."""
        face = self._mesh(picture)
        for _ in range(SETTLING if face and not self._settled else 0):
            face = self._mesh(picture) or face
        self._settled = face is not None
        return face

    def _track_in_window(self, image: Image) -> Face | None:
        """The face in the window, which is moved where the face is about to leave it."""
        assert self._window is not None
        left, top, side = self._window
        offset = np.array([max(left, 0), max(top, 0), 0])
        cut = image[offset[1] : top + side, offset[0] : left + side]
        found = self._track(cut) if min(cut.shape[:2]) >= SMALLEST_CROP else None
        if not found:
            return None
        face = Face(found.landmarks + offset.astype(np.float32), found.presence)
        x, y, wanted = square_around(face.box, CROP_SCALE)
        away = max(abs(x - left - side / 2), abs(y - top - side / 2))
        if away > RECENTER_AT * side or not 1 / RESCALE_AT < wanted / side < RESCALE_AT:
            self._place_window(face.box)
        return face
