"""What the report's plots show of one video: lip opening, head rotation, where the picture moves, stills."""

import cv2
import numpy as np

from kptalk.evaluate.head_pose import head_rotation
from kptalk.evaluate.metric import FrameSample
from kptalk.evaluate.result import Tracks
from kptalk.face.measures import lip_opening
from kptalk.types import Array, Image

HEAT_SIDE = 64
STILL_SIDE = 128
MAX_STILLS = 16


class TrackRecorder:
    """Collects the tracks of one video; at most 16 stills are held, at even distances, however long it is."""

    def __init__(self) -> None:
        self._openings: list[float] = []
        self._rotations: list[Array] = []
        self._heat = np.zeros((HEAT_SIDE, HEAT_SIDE), np.float64)
        self._before: Array | None = None
        self._stills: list[Image] = []
        self._every = 1

    def update(self, frame: FrameSample) -> None:
        """Take the next frame."""
        if len(self._openings) % self._every == 0:
            self._stills.append(_small(frame.image, STILL_SIDE))
            if len(self._stills) > MAX_STILLS:
                self._stills = self._stills[::2]
                self._every *= 2
        grey = cv2.cvtColor(_small(frame.image, HEAT_SIDE), cv2.COLOR_RGB2GRAY).astype(np.float32)
        if self._before is not None:
            self._heat += np.abs(grey - self._before)
        self._before = grey
        self._openings.append(float(lip_opening(frame.landmarks) / frame.face_height))
        self._rotations.append(np.full(3, np.nan, np.float32) if frame.mesh is None else head_rotation(frame.mesh))

    def compute(self) -> Tracks:
        """The tracks; once, after the last frame."""
        return Tracks(
            opening=np.array(self._openings, np.float32),
            rotation=np.array(self._rotations, np.float32).reshape(-1, 3),
            heat=(self._heat / max(1, len(self._openings) - 1)).astype(np.float32),
            stills=np.array(self._stills, np.uint8).reshape(-1, STILL_SIDE, STILL_SIDE, 3),
        )


def _small(image: Image, side: int) -> Image:
    """The middle square of a picture at another size."""
    edge = min(image.shape[:2])
    top, left = (np.array(image.shape[:2]) - edge) // 2
    square = image[top : top + edge, left : left + edge]
    return np.asarray(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA))
