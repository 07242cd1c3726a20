"""Mel frames for the sync model: 100 Hz, in step with video at 25 fps, without the recording's spectral mean."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptalk.audio.mean_norm import speech_weight
from kptalk.audio.mel import FRAME_RATE, mel_spectrogram
from kptalk.types import MODEL_FPS, Array, Floats

STEPS = 4  # mel frames per video frame, after resampling to 100 Hz
_RANGE = 3.0  # mel units about the clip's mean, beyond which everything is silence or noise


def sound_frames(sound: Array, count: int) -> Array:
    """Mel frames (4 count, 80) at 100 Hz of a sound (N,) at 16 kHz; row 4 k belongs to the instant of video frame k."""
    return resample(level_free(mel_spectrogram(sound).T), np.arange(STEPS * count) / STEPS)


def level_free(mel: Floats) -> Floats:
    """Mel frames (M, 80) less their mean over the speech, which voice, microphone and room decide."""
    weight = speech_weight(mel) + 1e-3  # so that silence has a mean
    return np.asarray(np.clip(mel - weight @ mel / weight.sum(), -_RANGE, _RANGE))


def resample(mel: Floats, frames: NDArray[Any]) -> Array:
    """Mel frames (M, 80) at 80 Hz at the instants of video frames (n,), possibly fractional; the ends repeat."""
    place = np.clip(frames * (FRAME_RATE / float(MODEL_FPS)), 0, len(mel) - 1)
    low = place.astype(int)
    share = (place - low)[:, None]
    between = mel[low] * (1 - share) + mel[np.minimum(low + 1, len(mel) - 1)] * share
    return np.asarray(between, np.float32)
