"""Follows the largest face through the frames of a video, also one that is small in the picture."""

from __future__ import annotations

from types import TracebackType

import numpy as np

from kptalk.face.landmarks import FaceMesh, detect_boxes
from kptalk.types import Array, Face, Image

ROOM = 2.4  # side of the window given to FaceMesh, in sides of the face
ASTRAY = 0.15  # of the window's side: how far the face may be from its middle
SETTLING = 3  # more looks at the first frame: each begins where the last one found the face, the first at a mere box
GROWN = 1.4  # times as large or small as when the window was placed


class FaceFollower:
    """The largest face in one frame after the other.

    FaceMesh finds no face that takes up less than about a fifth of the picture. Where it finds none, the detectors for
    small faces look for one, and FaceMesh is given a window around it that then moves with the face.
    """

    def __init__(self) -> None:
        self._mesh = FaceMesh(video=True)
        self._window: tuple[int, int, int] | None = None  # left, top, side in pixels
        self._settled = False

    def __enter__(self) -> FaceFollower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mesh.__exit__(kind, error, trace)

    def __call__(self, image: Image) -> Face | None:
        """The face in the next frame, (H, W, 3) uint8 RGB; None where there is none."""
        if self._window is None:
            if found := self._seen(image):
                return found[0]
        elif face := self._look(image):
            return face
        boxes = detect_boxes(image)
        if not len(boxes):
            return None
        self._place(boxes[np.argmax((boxes[:, 2:] - boxes[:, :2]).max(1))])
        return self._look(image)

    def _place(self, box: Array) -> None:
        """Put the window around a box (x0, y0, x1, y1)."""
        x0, y0, x1, y1 = map(float, box)
        side = round(ROOM * max(x1 - x0, y1 - y0))
        self._window = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2), side
        self._mesh(np.zeros((64, 64, 3), np.uint8))  # else it would look where the face was in another window
        self._settled = False

    def _seen(self, picture: Image) -> list[Face]:
        """What FaceMesh finds in the next picture."""
        found = self._mesh(picture)
        if found and not self._settled:
            for _ in range(SETTLING):
                found = self._mesh(picture) or found
        self._settled = bool(found)
        return found

    def _look(self, image: Image) -> Face | None:
        """The face in the window, which is moved where the face is about to leave it."""
        assert self._window is not None
        left, top, side = self._window
        x, y = max(left, 0), max(top, 0)
        cut = image[y : top + side, x : left + side]
        if min(cut.shape[:2]) < 8:
            return None
        found = self._seen(cut)
        if not found:
            return None
        face = Face(found[0].landmarks + np.array([x, y, 0], np.float32))
        x0, y0, x1, y1 = face.box
        astray = max(abs((x0 + x1) / 2 - left - side / 2), abs((y0 + y1) / 2 - top - side / 2))
        grown = ROOM * max(x1 - x0, y1 - y0) / side
        if astray > ASTRAY * side or not 1 / GROWN < grown < GROWN:
            self._place(np.array(face.box, np.float32))
        return face
