"""Running spectral mean normalisation: removes the mean of every mel band, the timbre of voice, microphone and room.

Trained on half an hour of speech, a network generalises far better to a new voice when each band's mean is removed. The
mean is taken over the frames that hold sound and starts from that of the training data, so that silence stays silence.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kptalk.types import Array, Floats

PRIOR_FRAMES = 25.0  # how many frames of speech the training mean counts for
_QUIET, _LOUD = -3.2, -2.2  # band-averaged mel level from which a frame begins to count, and counts in full


@dataclass(frozen=True)
class MeanNormState:
    """Sums over the speech so far: ``total`` (80,) of the mel bands, ``weight`` frames."""

    total: NDArray[np.float64]
    weight: float


def start(prior: Floats) -> MeanNormState:
    """State before any sound; ``prior`` (80,) is the training data's mean over speech."""
    return MeanNormState(np.asarray(prior, np.float64) * PRIOR_FRAMES, PRIOR_FRAMES)


def update(windows: Array, state: MeanNormState) -> MeanNormState:
    """Add the speech of mel windows (n, 80, 16) to the mean."""
    frames = windows.mean(-1, dtype=np.float64)
    weight = speech_weight(frames)
    return MeanNormState(state.total + weight @ frames, state.weight + float(weight.sum()))


def apply(windows: Array, state: MeanNormState) -> Array:
    """Mel windows (n, 80, 16) minus the mean of the speech so far."""
    return windows - (state.total / state.weight).astype(np.float32)[:, None]


def speech_weight(frames: Floats) -> NDArray[np.float64]:
    """How much each mel frame (n, 80) counts as sound, (n,) from 0 to 1."""
    return np.asarray(np.clip((frames.mean(-1) - _QUIET) / (_LOUD - _QUIET), 0, 1))
