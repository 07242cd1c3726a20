"""Hard cuts between scenes, found while a video is read."""

from collections import deque

import cv2
import numpy as np

from kptalk.types import Array, Image

SIZE = 48, 27  # pixels, at which frames are compared
CHANGE = 22.0  # of 255: least mean difference of colours of two frames at a cut
RATIO = 4.0  # how many times as much as is usual in the frames before
BEFORE = 12  # frames


class CutDetector:
    """Whether a frame begins another scene than the frame before.

    At a cut all of the picture changes at once, far more than a moving head or camera changes it from frame to frame.
    """

    def __init__(self) -> None:
        self._last: Array | None = None
        self._changes: deque[float] = deque(maxlen=BEFORE)

    def __call__(self, image: Image) -> bool:
        """For the next frame (H, W, 3) uint8 RGB; never for the first."""
        small = cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
        last, self._last = self._last, small
        if last is None:
            return False
        change = float(np.abs(small - last).mean())
        usual = float(np.median(self._changes)) if self._changes else 0.0
        cut = change > max(CHANGE, RATIO * usual)
        if cut:
            self._changes.clear()
        else:
            self._changes.append(change)
        return cut
