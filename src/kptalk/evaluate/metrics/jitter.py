"""How smoothly the face moves: landmark jerk, and whether the joins of a method's windows show in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kptalk.evaluate.metric import Column, Heard, Judge, Sight

EVERY = 8  # landmarks, of 478
NEAR = 2  # frames on either side of a join


@dataclass(frozen=True)
class Joins:
    """Where a method's windows meet: at frame ``first`` and every ``stride`` frames after it.

    KDTalker's windows meet every 64 frames.
    """

    first: int = 64
    stride: int = 64


class JitterJudge(Judge):
    """Mean landmark jerk, and its 95th percentile at window joins over that inside windows."""

    columns = (
        Column("jerk", "landmark jerk", "% of face height", "real", "mean third difference in time of the landmarks"),
        Column(
            "seams",
            "window seams",
            "",
            "real",
            f"95th percentile of the jerk within {NEAR} frames of a join of windows over that elsewhere; 1: no seam",
        ),
    )

    def __init__(self, joins: Joins) -> None:
        self._joins = joins
        jerk, seams = self.columns
        where = f"; windows taken to join at frame {joins.first} and every {joins.stride} frames"
        self.columns = (jerk, replace(seams, about=seams.about + where))

    def start(self) -> JitterMeter:
        """A meter for the next clip."""
        return JitterMeter(self._joins)


class JitterMeter:
    """Keeps 60 landmarks of every frame of the judged video."""

    def __init__(self, joins: Joins) -> None:
        self._joins = joins
        self._points: list[NDArray[np.float32]] = []
        self._heights: list[float] = []

    def add(self, generated: Sight, real: Sight) -> None:
        """Look at the next frame."""
        mesh = generated.mesh if generated.mesh is not None else np.full((478, 3), np.nan, np.float32)
        self._points.append(mesh[::EVERY, :2])
        self._heights.append(float(np.linalg.norm(mesh[10] - mesh[152])))

    def result(self, heard: Heard) -> Mapping[str, float]:
        """Jerk in percent of the face's height; seams is NaN where the clip has no join."""
        jerk = landmark_jerk(np.array(self._points)) if self._points else np.empty(0)
        if not np.isfinite(jerk).any():
            return {"jerk": np.nan, "seams": np.nan}
        jerk *= 100 / np.nanmean(self._heights)
        return {"jerk": float(np.nanmean(jerk)), "seams": seams(jerk, self._joins)}


def landmark_jerk(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean norm of the third difference in time of landmarks (T, N, 2), (max(T - 3, 0),); NaN near NaN."""
    jerk: NDArray[np.float64] = np.linalg.norm(np.diff(points.astype(np.float64), n=3, axis=0), axis=-1).mean(1)
    return jerk


def seams(jerk: NDArray[np.float64], joins: Joins) -> float:
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
