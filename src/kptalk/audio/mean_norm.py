"""Takes the colour of voice, microphone and room out of mel windows: a running mean for every mel band.

Trained on half an hour of speech, a network hears a new person far better when each band's mean is removed. The mean is
taken over the frames that hold sound, and starts from the mean of the training data, so that silence stays silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptalk.audio.mel import N_MELS

PRIOR_FRAMES = 25.0  # how many frames of speech the training mean counts for
_QUIET, _LOUD = -3.2, -2.2  # band-averaged mel level from which a frame begins to count, and counts in full


@dataclass(frozen=True)
class MeanNormState:
    """Sums over the speech so far: ``total`` (80,) of the mel bands, ``weight`` frames."""

    total: NDArray[np.float64]
    weight: float


def start(prior: NDArray[np.floating[Any]]) -> MeanNormState:
    """State of a stream that has heard nothing; ``prior`` (80,) is the training data's mean over speech."""
    return MeanNormState(np.asarray(prior, np.float64) * PRIOR_FRAMES, PRIOR_FRAMES)


def update(windows: NDArray[np.float32], state: MeanNormState) -> MeanNormState:
    """Take the speech of mel windows (n, 80, 16) into the mean."""
    frames = windows.mean(-1, dtype=np.float64)
    weight = speech_weight(frames)
    return MeanNormState(state.total + weight @ frames, state.weight + float(weight.sum()))


def apply(windows: NDArray[np.float32], state: MeanNormState) -> NDArray[np.float32]:
    """Mel windows (n, 80, 16) less the mean of the speech heard so far."""
    return windows - (state.total / state.weight).astype(np.float32)[:, None]


def speech_weight(frames: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """How much each mel frame (n, 80) counts as sound, (n,) from 0 to 1."""
    assert frames.shape[-1] == N_MELS
    weight: NDArray[np.float64] = np.clip((frames.mean(-1) - _QUIET) / (_LOUD - _QUIET), 0, 1)
    return weight
