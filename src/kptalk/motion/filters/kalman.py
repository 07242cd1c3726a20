"""KDTalker's smoothing of motion: a Kalman smoother of a random walk, as one tridiagonal solve.

The reference runs a general Kalman filter backwards and forwards over 66 coordinates. All its covariances are multiples
of the identity, so each coordinate stands alone and the smoothed x minimises, for observations y,

    sum_i (x_i - y_i)^2 / 0.001  +  sum_i (x_i+1 - x_i)^2 / 0.05  +  (x_0 - y_0)^2

whose normal equations are tridiagonal. A frame's weight falls by a factor of fifty with every frame of distance, so
seven frames on either side are enough for a stream: what lies beyond them would change a frame by 1e-12 of its jump.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_banded

from kptalk.types import Motion

OBSERVED = 1 / 0.001  # precision of an observation; the same for degrees and for keypoint coordinates
LINK = 1 / 0.05  # precision of the step from one frame to the next
PRIOR = 1.0  # precision of the belief that the first frame is where it was observed
RADIUS = 7  # frames on either side

Values = NDArray[np.float64]


def smooth_values(values: NDArray[np.floating[Any]]) -> Values:
    """Smoothed coordinates (T, D) float64 of (T, D) observed ones; T may be 0."""
    observed = np.asarray(values, np.float64)
    if not len(observed):
        return observed
    bands, right = np.full((3, len(observed)), -LINK), OBSERVED * observed
    bands[1] = OBSERVED + 2 * LINK
    bands[1, 0] += PRIOR - LINK
    bands[1, -1] -= LINK
    right[0] += PRIOR * observed[0]
    solved: Values = solve_banded((1, 1), bands, right)
    return solved


def smooth(motion: Motion) -> Motion:
    """Rotation, translation and expression smoothed; the scale stays, as in the reference."""
    expression = motion.expression.reshape(len(motion), -1)
    values = smooth_values(np.concatenate([motion.rotation, motion.translation, expression], 1))
    return motion.with_fields(
        rotation=values[:, :3].astype(np.float32),
        translation=values[:, 3:6].astype(np.float32),
        expression=values[:, 6:].reshape(motion.expression.shape).astype(np.float32),
    )
