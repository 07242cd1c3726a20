"""What the lips do against what the real speaker's lips did: opening, width, distance, closures; by FaceMesh.

The real video must show the same person saying the same words, frame by frame: self-reenactment, the papers' protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kptalk.evaluate.metric import FPS, RATE, Column, Heard, Judge, Sight
from kptalk.face.geometry import align
from kptalk.face.measures import lip_opening
from kptalk.face.topology import LIPS_INNER, LIPS_OUTER, MOUTH_CORNERS, STABLE

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

SHORTEST = 25  # frames that both videos must show a face in: one second
MAX_LAG = 10  # frames
CLOSED = 0.2  # of the way from the real clip's 5th to its 95th percentile of the opening
CLOSURE = 2  # frames that a closure lasts at least
TOLERANCE = 2  # frames that a closure may come early or late
SPEECH_NEARBY = 3  # frames
LOUD = 0.1  # of the 95th percentile of the sound's level

_LIPS = np.concatenate([LIPS_OUTER, LIPS_INNER])
_KEPT = np.concatenate([_LIPS, STABLE])


class LipJudge(Judge):
    """Lip-opening correlation and lag, mouth width, amplitude, landmark distance and closures."""

    columns = (
        Column("lip_r", "lip opening r", "", "higher", "Pearson correlation of the inner-lip opening at lag 0"),
        Column(
            "lip_lag",
            "lip lag",
            "frames",
            "real",
            "by which the lips come later than the real ones; best of -10 to 10",
        ),
        Column(
            "lip_width_r", "mouth width r", "", "higher", "Pearson correlation of the mouth's width, corner to corner"
        ),
        Column("lip_amplitude", "amplitude ratio", "", "real", "spread of the lip opening over the real video's"),
        Column(
            "lmd",
            "LMD",
            "% of face width",
            "lower",
            "mean distance of the 40 lip landmarks after the head's pose is taken off (Chen et al. 2018, adapted)",
        ),
        Column(
            "closure_recall",
            "closure recall",
            "",
            "higher",
            "share of the real closures of 2 frames or more during speech that are met within 2 frames",
        ),
        Column(
            "closure_precision",
            "closure precision",
            "",
            "higher",
            "share of the frames of such closures, during speech, that are within 2 frames of a real one; "
            "a mouth that stays shut has recall, and not this",
        ),
    )

    def start(self) -> LipMeter:
        """A meter for the next clip."""
        return LipMeter()


class LipMeter:
    """Keeps 79 landmarks, the opening and the face's height of every frame of both videos."""

    def __init__(self) -> None:
        self._generated = _Face()
        self._real = _Face()

    def add(self, generated: Sight, real: Sight) -> None:
        """Look at the next frame."""
        self._generated.add(generated)
        self._real.add(real)

    def result(self, heard: Heard) -> Mapping[str, float]:
        """The clip's numbers; all NaN with fewer than 25 frames that show both faces; no closures, no recall."""
        names = [column.key for column in LipJudge.columns]
        generated, real = self._generated.opening(), self._real.opening()
        seen = np.isfinite(generated) & np.isfinite(real)
        if seen.sum() < SHORTEST:
            return dict.fromkeys(names, np.nan)
        spread = real[seen].std()
        recall, precision = closures(generated, real, speaking(heard.real, len(real)))
        return {
            "lip_r": correlation(generated, real),
            "lip_lag": best_lag(generated, real),
            "lip_width_r": correlation(self._generated.width(), self._real.width()),
            "lip_amplitude": float(generated[seen].std() / spread) if spread else np.nan,
            "lmd": landmark_distance(self._generated.points()[seen], self._real.points()[seen]),
            "closure_recall": recall,
            "closure_precision": precision,
        }


class _Face:
    """One video's landmarks; NaN in frames without a face. Lengths are in units of the clip's mean face height."""

    def __init__(self) -> None:
        self._points: list[Array] = []
        self._openings: list[float] = []
        self._widths: list[float] = []
        self._heights: list[float] = []

    def add(self, sight: Sight) -> None:
        mesh = sight.mesh if sight.mesh is not None else np.full((478, 3), np.nan, np.float32)
        self._points.append(mesh[_KEPT])
        self._openings.append(float(lip_opening(mesh)))
        self._widths.append(float(np.linalg.norm(np.subtract(*mesh[MOUTH_CORNERS, :2]))))
        self._heights.append(float(np.linalg.norm(mesh[10] - mesh[152])))

    def points(self) -> Array:
        return np.array(self._points)

    def opening(self) -> Array:
        return np.array(self._openings) / self._height()

    def width(self) -> Array:
        return np.array(self._widths) / self._height()

    def _height(self) -> float:
        heights = np.array(self._heights)
        return float(np.nanmean(heights)) if np.isfinite(heights).any() else np.nan


def correlation(a: Array, b: Array) -> float:
    """Pearson correlation of (T,) and (T,) over the frames where both are finite; 0 where one of them does not move."""
    good = np.isfinite(a) & np.isfinite(b)
    if not good.any():
        return float("nan")
    a, b = a[good] - a[good].mean(), b[good] - b[good].mean()
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / scale) if scale > 0 else 0.0


def best_lag(generated: Array, real: Array) -> float:
    """Frames by which the generated (T,) follows the real (T,) where they correlate best, -10 to 10.

    NaN where nothing correlates, for one of them does not move.
    """

    def at(lag: int) -> float:
        a = generated[max(lag, 0) : len(generated) + min(lag, 0)]
        b = real[max(-lag, 0) : len(real) + min(-lag, 0)]
        n = min(len(a), len(b))
        return correlation(a[:n], b[:n])

    lags = range(-MAX_LAG, MAX_LAG + 1)
    found = np.nan_to_num([at(lag) for lag in lags])
    return float(lags[int(found.argmax())]) if found.any() else float("nan")


def landmark_distance(generated: Array, real: Array) -> float:
    """LMD: mean distance of lip landmarks in percent of the face's width, after pose removal.

    Every frame of both videos is brought to the pose of the first real frame by the similarity that fits the points
    which no expression moves; distances are then taken in the picture's plane.

    Args:
        generated, real: (T, 79, 3): the 40 lip landmarks, then ``STABLE``, without NaN.
    """
    lips = len(_LIPS)
    template = real[0].astype(np.float64)
    aligned = []
    for points in (generated, real):
        scale, rotation, translation = align(
            points[:, lips:].astype(np.float64), template[lips:], np.ones(len(STABLE), np.float64)
        )
        moved = (points[:, :lips] - translation[:, None]) / scale[:, None, None]
        aligned.append(np.einsum("tnd,ted->tne", moved, rotation))  # R undone: for row vectors, by its transpose
    stable = template[lips:]
    width = np.linalg.norm(stable[list(STABLE).index(234)] - stable[list(STABLE).index(454)])
    return float(100 * np.linalg.norm((aligned[0] - aligned[1])[..., :2], axis=-1).mean() / width)


def speaking(sound: NDArray[np.float32], frames: int) -> Flags:
    """Which frames (T,) have speech within three frames: level above a tenth of the sound's 95th percentile."""
    step = RATE / FPS
    edges = [round(k * step) for k in range(frames + 1)]
    levels = np.array([_level(sound[a:b]) for a, b in pairwise(edges)])
    top = np.percentile(levels, 95) if frames else 0.0
    return _widen((levels > LOUD * top) & (top > 0), SPEECH_NEARBY)


def closures(generated: Array, real: Array, speech: Flags) -> tuple[float, float]:
    """Recall and precision of the lips' closures, from openings (T,) and where there is speech (T,).

    Closed means: below a fifth of the way from the real clip's 5th to its 95th percentile, for both videos, since they
    show the same lips. A closure is at least two frames of it that touch speech. Recall counts closures, precision
    their frames.
    """
    low, high = np.nanpercentile(real, [5, 95])
    limit = low + CLOSED * (high - low)
    shut, truly = generated < limit, real < limit  # NaN is never closed
    ours, theirs = _runs(shut, speech), _runs(truly, speech)
    near, truly_near = _widen(shut, TOLERANCE), _widen(truly, TOLERANCE)
    met = [near[a:b].any() for a, b in theirs]
    right = [frame for a, b in ours for frame in truly_near[a:b][speech[a:b]]]
    return (float(np.mean(met)) if met else np.nan, float(np.mean(right)) if right else np.nan)


def _runs(flags: Flags, speech: Flags) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [
        (int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= CLOSURE and speech[a:b].any()
    ]


def _widen(flags: Flags, radius: int) -> Flags:
    padded = np.pad(flags, radius)
    widened: Flags = np.any([padded[shift : shift + len(flags)] for shift in range(2 * radius + 1)], axis=0)
    return widened


def _level(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(samples)))) if len(samples) else 0.0
