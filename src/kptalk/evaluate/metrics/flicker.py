"""Flicker: how much the picture changes back and forth from frame to frame.

With Y_t the luminance of frame t (0 to 255) reduced to 64 x 64 by area means,

    flicker = mean over t and pixels of |Y_(t-1) - 2 Y_t + Y_(t+1)|,    grey levels,

the second difference in time: it is 0 for a still picture and for steady change, small for slow motion, and four times
the amplitude of brightness that swings around its mean every frame. Real video has some of it (camera noise,
compression, the lips), so its own number is what to be near: a frozen video lies below it, a trembling one above.
The definition is ours. The reduction to cells keeps shimmering textures and pulsing light, and drops pixel noise.
"""

from collections import deque

import cv2
import numpy as np

from kptalk.evaluate.metric import AudioPair, FrameSample, Metric, mean_or_nan, specs
from kptalk.types import Array

CELLS = 64  # a side, whatever the frame's shape


class FlickerMetric(Metric):
    """Flicker of the generated video, whole frame; NaN with fewer than three frames."""

    columns = specs("flicker")

    def reset(self) -> None:
        self._last: deque[Array] = deque(maxlen=3)
        self._changes: list[float] = []

    def update(self, generated: FrameSample, real: FrameSample) -> None:
        luminance = cv2.cvtColor(generated.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        self._last.append(cv2.resize(luminance, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.float32))
        if len(self._last) == 3:
            before, now, after = self._last
            self._changes.append(float(np.abs(before - 2 * now + after).mean()))

    def compute(self, audio: AudioPair) -> dict[str, float]:
        return {"flicker": mean_or_nan(self._changes)}
