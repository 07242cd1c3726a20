"""What the lips do against what the real speaker's lips did: opening, width, distance, closures; by FaceMesh.

The real video must show the same person saying the same words, frame by frame: self-reenactment, the papers' protocol.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label, maximum_filter1d

from kptalk.evaluate.metric import FPS, RATE, AudioPair, FrameSample, Metric, mean_or_nan, specs
from kptalk.face.geometry import align
from kptalk.face.measures import lip_opening
from kptalk.face.topology import LIPS_INNER, LIPS_OUTER, MOUTH_CORNERS, STABLE
from kptalk.types import Array, Floats

Flags = NDArray[np.bool_]
_Lips = tuple[Array, float, float, float]

MIN_FRAMES = 25  # frames that both videos must show a face in: one second
MAX_LAG = 10  # frames
CLOSED = 0.2  # of the way from the real clip's 5th to its 95th percentile of the opening
CLOSURE = 2  # frames that a closure lasts at least
TOLERANCE = 2  # frames that a closure may come early or late
SPEECH_NEARBY = 3  # frames
LOUD = 0.1  # of the 95th percentile of the sound's level

_LIPS = np.concatenate([LIPS_OUTER, LIPS_INNER])
_KEPT = np.concatenate([_LIPS, STABLE])


class LipMetric(Metric):
    """Lip-opening correlation and lag, mouth width, amplitude, landmark distance and closures.

    All NaN with fewer than 25 frames that show both faces. Keeps 79 landmarks, the opening and the face's height of
    every frame of both videos.
    """

    columns = specs("lip_r", "lip_lag", "lip_width_r", "lip_amplitude", "lmd", "closure_recall", "closure_precision")

    def reset(self) -> None:
        self._generated: list[_Lips] = []
        self._real: list[_Lips] = []

    def update(self, generated: FrameSample, real: FrameSample) -> None:
        self._generated.append(_lips(generated))
        self._real.append(_lips(real))

    def compute(self, audio: AudioPair) -> dict[str, float]:
        if not self._real:
            return self.no_result()
        points, generated, width = _tracks(self._generated)
        real_points, real, real_width = _tracks(self._real)
        seen = np.isfinite(generated) & np.isfinite(real)
        if seen.sum() < MIN_FRAMES:
            return self.no_result()
        spread = real[seen].std()
        recall, precision = closures(generated, real, speaking(audio.real, len(real)))
        return {
            "lip_r": correlation(generated, real),
            "lip_lag": best_lag(generated, real),
            "lip_width_r": correlation(width, real_width),
            "lip_amplitude": float(generated[seen].std() / spread) if spread else np.nan,
            "lmd": landmark_distance(points[seen], real_points[seen]),
            "closure_recall": recall,
            "closure_precision": precision,
        }


def _lips(frame: FrameSample) -> _Lips:
    """The landmarks kept (79, 3), lip opening, mouth width and face height; NaN without a face."""
    mesh = frame.landmarks
    width = np.linalg.norm(np.subtract(*mesh[MOUTH_CORNERS, :2]))
    return mesh[_KEPT], float(lip_opening(mesh)), float(width), frame.face_height


def _tracks(frames: Sequence[_Lips]) -> tuple[Floats, Floats, Floats]:
    """Landmarks (T, 79, 3) in pixels; opening and width (T,) in units of the clip's mean face height."""
    points, opening, width, height = (np.array(values) for values in zip(*frames, strict=True))
    unit = np.nanmean(height) if np.isfinite(height).any() else np.nan
    return points, opening / unit, width / unit


def correlation(a: Floats, b: Floats) -> float:
    """Pearson correlation of (T,) and (T,) over the frames where both are finite; 0 where one of them does not move."""
    good = np.isfinite(a) & np.isfinite(b)
    if not good.any():
        return float("nan")
    a, b = a[good], b[good]
    if not np.ptp(a) or not np.ptp(b):  # exact, where the rounded mean of equal numbers may differ from them
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def best_lag(generated: Floats, real: Floats) -> float:
    """Frames by which the generated (T,) follows the real (T,) where they correlate best, -10 to 10.

    NaN where nothing correlates, for one of them does not move.
    """
    padded = np.pad(generated, MAX_LAG, constant_values=np.nan)  # NaN does not count
    found = np.nan_to_num([correlation(moved, real) for moved in sliding_window_view(padded, len(real))])
    return float(found.argmax() - MAX_LAG) if found.any() else float("nan")


def landmark_distance(generated: Floats, real: Floats) -> float:
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
        scale, rotation, translation = align(points[:, lips:].astype(np.float64), template[lips:], np.ones(len(STABLE)))
        moved = (points[:, :lips] - translation[:, None]) / scale[:, None, None]
        aligned.append(np.einsum("tnd,ted->tne", moved, rotation))  # R undone: for row vectors, by its transpose
    stable = template[lips:]
    width = np.linalg.norm(stable[list(STABLE).index(234)] - stable[list(STABLE).index(454)])
    return float(100 * np.linalg.norm((aligned[0] - aligned[1])[..., :2], axis=-1).mean() / width)


def speaking(audio: Array, frames: int) -> Flags:
    """Which frames (T,) have speech within three frames: level above a tenth of the audio's 95th percentile."""
    parts = np.split(audio, int(RATE / FPS) * np.arange(1, frames + 1))[:frames]
    levels = np.array([float(np.sqrt(np.mean(np.square(part)))) if len(part) else 0.0 for part in parts])
    top = np.percentile(levels, 95) if frames else 0.0
    return _widen((levels > LOUD * top) & (top > 0), SPEECH_NEARBY)


def closures(generated: Floats, real: Floats, speech: Flags) -> tuple[float, float]:
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
    met = [near[run].any() for run in theirs]
    right = [frame for run in ours for frame in truly_near[run][speech[run]]]
    return mean_or_nan(met), mean_or_nan(right)


def _runs(flags: Flags, speech: Flags) -> list[slice]:
    """Where flags (T,) hold for at least two frames, during speech."""
    runs = [run for (run,) in find_objects(label(flags)[0])]
    return [run for run in runs if run.stop - run.start >= CLOSURE and speech[run].any()]


def _widen(flags: Flags, radius: int) -> Flags:
    return np.asarray(maximum_filter1d(flags, 2 * radius + 1, mode="constant"))
