"""KDTalker's smoothing of motion: a Kalman smoother of a random walk, as one tridiagonal solve.

The reference runs a general Kalman filter backwards and forwards over 66 coordinates. All its covariances are multiples
of the identity, so each coordinate stands alone and the smoothed x minimises, for observations y,

    sum_i (x_i - y_i)^2 / 0.001  +  sum_i (x_i+1 - x_i)^2 / 0.05  +  (x_0 - y_0)^2

whose normal equations are tridiagonal. A frame's weight falls by a factor of fifty with every frame of distance, so
that seven frames of look-ahead are enough for a stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_banded

from kptalk.types import N_KEYPOINTS, Motion

OBSERVED = 1 / 0.001  # precision of an observation; the same for degrees and for keypoint coordinates
LINK = 1 / 0.05  # precision of the step from one frame to the next
PRIOR = 1.0  # precision of the belief that the first frame is where it was observed
LOOKAHEAD = 7  # frames; what the later ones would change is below 1e-10 of their jump

Values = NDArray[np.float64]


@dataclass(frozen=True)
class KalmanState:
    """Where a stream stands.

    ``pending`` (n, D) are observed frames not given out yet; ``precision`` and ``weighted`` (D,) are what all earlier
    ones say of the first of these: their belief's precision, and precision times mean. None before the first frame.
    """

    pending: Values | None = None
    precision: float = PRIOR
    weighted: Values | None = None


def smooth(values: NDArray[np.floating[Any]]) -> Values:
    """Smoothed coordinates (T, D) float64 of (T, D) observed ones; T may be 0."""
    first, state = step(values, KalmanState())
    return np.concatenate([first, finish(state)])


def step(values: NDArray[np.floating[Any]], state: KalmanState) -> tuple[Values, KalmanState]:
    """Observe (n, D); returns the frames that have all the look-ahead they need, smoothed, and the state."""
    observed = np.asarray(values, np.float64)
    pending = observed if state.pending is None else np.concatenate([state.pending, observed])
    if not len(pending):
        return pending, KalmanState(pending)
    precision = state.precision
    weighted = PRIOR * pending[0] if state.weighted is None else state.weighted
    ready = max(0, len(pending) - LOOKAHEAD)
    out = _solve(pending, precision, weighted)[:ready]
    for frame in pending[:ready]:  # what is given out is eliminated: it stays as a belief about the next frame
        share = LINK / (precision + OBSERVED + LINK)
        weighted = share * (weighted + OBSERVED * frame)
        precision = share * (precision + OBSERVED)
    return out, KalmanState(pending[ready:], precision, weighted)


def finish(state: KalmanState) -> Values:
    """The frames (n, D) that remain, smoothed."""
    if state.pending is None or state.weighted is None:
        return np.zeros((0, 0)) if state.pending is None else state.pending
    return _solve(state.pending, state.precision, state.weighted)


def variance(length: int) -> Values:
    """(T,) variance of the smoothed frames, the same for all coordinates: the diagonal of the inverse system."""
    diagonal = _diagonal(length, PRIOR)
    forward, backward = diagonal.copy(), diagonal.copy()
    for i in range(1, length):
        forward[i] -= LINK**2 / forward[i - 1]
        backward[-1 - i] -= LINK**2 / backward[-i]
    result: Values = 1 / (forward + backward - diagonal)
    return result


def smooth_motion(motion: Motion) -> Motion:
    """Rotation, translation and expression smoothed; the scale stays, as in the reference."""
    first, state = step_motion(motion, MotionState())
    return Motion.concatenate([first, finish_motion(state)]) if len(motion) else motion


@dataclass(frozen=True)
class MotionState:
    """Where a stream of motion stands: the frames not given out yet, and their coordinates' state."""

    pending: Motion | None = None
    coordinates: KalmanState = KalmanState()


def step_motion(motion: Motion, state: MotionState) -> tuple[Motion, MotionState]:
    """Take in n frames; returns those that are smooth, and the state."""
    pending = motion if state.pending is None else Motion.concatenate([state.pending, motion])
    smoothed, coordinates = step(_coordinates(motion), state.coordinates)
    return _replaced(pending[: len(smoothed)], smoothed), MotionState(pending[len(smoothed) :], coordinates)


def finish_motion(state: MotionState) -> Motion:
    """The frames that remain.

    Raises:
        ValueError: the stream was never given a motion, so its space is unknown.
    """
    if state.pending is None:
        raise ValueError("this stream was given no motion")
    return _replaced(state.pending, finish(state.coordinates))


def _solve(observed: Values, precision: float, weighted: Values) -> Values:
    """Smooth (n, D) of which the first has the belief ``weighted / precision`` from before."""
    bands = np.full((3, len(observed)), -LINK)
    bands[1] = _diagonal(len(observed), precision)
    right = OBSERVED * observed
    right[:1] += weighted
    solved: Values = solve_banded((1, 1), bands, right) if len(observed) else right
    return solved


def _diagonal(length: int, first: float) -> Values:
    diagonal = np.full(length, OBSERVED + 2 * LINK)
    diagonal[:1] += first - LINK
    diagonal[-1:] -= LINK
    return diagonal


def _coordinates(motion: Motion) -> Values:
    parts = [motion.rotation, motion.translation, motion.expression.reshape(len(motion), 3 * N_KEYPOINTS)]
    return np.concatenate(parts, 1, dtype=np.float64)


def _replaced(motion: Motion, values: Values) -> Motion:
    return motion.with_fields(
        rotation=values[:, :3].astype(np.float32),
        translation=values[:, 3:6].astype(np.float32),
        expression=values[:, 6:].reshape(-1, N_KEYPOINTS, 3).astype(np.float32),
    )
