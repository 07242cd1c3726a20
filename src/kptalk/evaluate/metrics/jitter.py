"""How smoothly the face moves: landmark jerk, and whether the joins of a method's windows show in it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kptalk.evaluate.metric import AudioPair, FrameSample, Metric, specs
from kptalk.motion.generator import WindowGrid
from kptalk.types import Array

EVERY = 8  # landmarks, of 478
NEAR = 2  # frames on either side of a join


class JitterMetric(Metric):
    """Mean landmark jerk of the generated video, and its 95th percentile at window joins over that inside windows.

    NaN without a face; ``seams`` also where the clip has no join. Keeps 60 landmarks of every frame.

    Args:
        joins: where the method's windows meet.
    """

    columns = specs("jerk", "seams")

    def __init__(self, joins: WindowGrid) -> None:
        self._joins = joins
        jerk, seams = self.columns
        where = f"; windows taken to join at frame {joins.first} and every {joins.stride} frames"
        self.columns = (jerk, replace(seams, about=seams.about + where))
        self.reset()

    def reset(self) -> None:
        self._points: list[Array] = []
        self._heights: list[float] = []

    def update(self, generated: FrameSample, real: FrameSample) -> None:
        self._points.append(generated.landmarks[::EVERY, :2])
        self._heights.append(generated.face_height)

    def compute(self, audio: AudioPair) -> dict[str, float]:
        jerk = landmark_jerk(np.array(self._points)) if self._points else np.empty(0)
        if not np.isfinite(jerk).any():
            return self.no_result()
        jerk *= 100 / np.nanmean(self._heights)
        return {"jerk": float(np.nanmean(jerk)), "seams": window_seams(jerk, self._joins)}


def landmark_jerk(points: Array) -> NDArray[np.float64]:
    """Mean norm of the third difference in time of landmarks (T, N, 2), (max(T - 3, 0),); NaN near NaN."""
    return np.asarray(np.linalg.norm(np.diff(points.astype(np.float64), n=3, axis=0), axis=-1).mean(1))


def window_seams(jerk: NDArray[np.float64], joins: WindowGrid) -> float:
    """95th percentile of the jerk (T - 3,) within two frames of a join over that of the rest; NaN without joins."""
    frames = np.arange(len(jerk)) + 1.5  # a third difference is centred between the second and the third of its frames
    meetings = np.arange(joins.first, len(jerk) + 3, joins.stride) - 0.5  # between the last old and the first new frame
    if not len(meetings):
        return float("nan")
    near = np.abs(frames[:, None] - meetings).min(1) <= NEAR
    at, elsewhere = jerk[near & np.isfinite(jerk)], jerk[~near & np.isfinite(jerk)]
    if not len(at) or not len(elsewhere) or not (inside := np.percentile(elsewhere, 95)):
        return float("nan")
    return float(np.percentile(at, 95) / inside)
