"""Ridge regression from the mel spectrogram to the lip opening: the simplest measure of lip sync.

It needs no choice but one, trains in closed form, and can leave any person out at the cost of one solution, so it tells
every training clip's own AV offset by a model that has not seen the person.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from kptalk.audio.sync_mel import level_free, resample
from kptalk.networks.sync import lag_correlations
from kptalk.types import Array

CONTEXT = 6  # video frames to either side of a frame that are listened to
STRENGTH = 0.3  # of the penalty, over the mean variance of the inputs
INNER_UPPER, INNER_LOWER = 6 * 3 + 1, 5 * 3 + 1  # heights of the middle inner lips in ``lip_shape``

Floats = NDArray[np.float64]


def opening(lips: Array) -> Floats:
    """Lip opening (T,) of lip shapes (T, 68), about its mean and over its spread."""
    gap = (lips[:, INNER_LOWER] - lips[:, INNER_UPPER]).astype(np.float64)
    return np.asarray((gap - gap.mean()) / (gap.std() + 1e-6))


def sound_context(mel: Array, count: int) -> Floats:
    """What the ridge hears at each of ``count`` video frames of mel (M, 80): (count, 13 * 40), about its mean."""
    bands = resample(level_free(mel), np.arange(count)).reshape(count, -1, 2).mean(-1, dtype=np.float64)
    padded = np.pad(bands, ((CONTEXT, CONTEXT), (0, 0)), mode="edge")
    context = np.concatenate([padded[i : i + count] for i in range(2 * CONTEXT + 1)], 1)
    return np.asarray(context - context.mean(0))


class RidgeFit:
    """Sums over clips, from which the ridge follows, for all people or for all but one."""

    def __init__(self, lips: Sequence[Array], mels: Sequence[Array], people: Sequence[str]) -> None:
        """Take clips: lip shapes (T, 68), mel frames (M, 80) and who it is."""
        self._sums: dict[str, tuple[Floats, Floats]] = {}
        for shape, mel, person in zip(lips, mels, people, strict=True):
            heard = sound_context(mel, len(shape))
            gram, cross = self._sums.get(person, (0.0, 0.0))
            self._sums[person] = (gram + heard.T @ heard, cross + heard.T @ opening(shape))
        self._gram = sum((gram for gram, _ in self._sums.values()), np.zeros(()))
        self._cross = sum((cross for _, cross in self._sums.values()), np.zeros(()))

    def weights(self, without: str | None = None) -> Floats:
        """Weights (13 * 40,) of the ridge on everybody, or on everybody but one person."""
        own_gram, own_cross = self._sums[without] if without else (0.0, 0.0)
        gram, cross = self._gram - own_gram, self._cross - own_cross
        penalty = STRENGTH * np.trace(gram) / len(gram) + 1e-9  # nobody left: the ridge is zero
        return np.asarray(np.linalg.solve(gram + penalty * np.eye(len(gram)), cross))


def ridge_curve(weights: Floats, lips: Array, mel: Array) -> Floats:
    """Correlation (31,) of the lip opening with the ridge's, at lags of -15 to 15; see ``lag_correlations``."""
    heard = sound_context(mel, len(lips)) @ weights
    signals = torch.from_numpy(np.stack([opening(lips), heard]))[:, None, None]
    curve = lag_correlations(signals[0], signals[1], torch.ones(1, 1, len(lips), dtype=torch.float64))[0]
    return np.asarray(curve.numpy())
