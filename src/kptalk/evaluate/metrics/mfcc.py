"""Mel-frequency cepstral coefficients, as the package python_speech_features 0.6 gives them by default.

SyncNet (Chung and Zisserman, "Out of time", 2016) takes these: 13 numbers 100 times a second.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from kptalk.evaluate.metric import RATE
from kptalk.types import Floats

FRAME = 400  # samples, 25 ms, without a window function
STEP = 160  # samples, 10 ms
FFT = 512
BANDS = 26  # between 0 Hz and half the sample rate
COEFFICIENTS = 13
PREEMPHASIS = 0.97
LIFTER = 22
BLOCK = 4096  # frames that are computed at once, so that an hour of sound needs no gigabytes


def mfcc(signal: NDArray[Any]) -> Floats:
    """MFCC of a sound at 16 kHz.

    Pre-emphasis, power spectrum of 25 ms every 10 ms (the last frame filled with zeros), 26 triangles on the mel
    scale, logarithm, cosine transform, lifter; coefficient 0 is replaced by the logarithm of the frame's energy.

    Args:
        signal: (N,) samples with N > 0, any real dtype; the reference takes int16, and loudness matters.

    Returns:
        (T, 13) float64 with T = 1 + ceil((N - 400) / 160), at least 1.
    """
    sound = np.asarray(signal, np.float64)
    sound = np.append(sound[:1], sound[1:] - PREEMPHASIS * sound[:-1])
    count = 1 + max(0, -(-(len(sound) - FRAME) // STEP))
    sound = np.pad(sound, (0, (count - 1) * STEP + FRAME - len(sound)))
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::STEP]
    return np.concatenate([_cepstrum(frames[start : start + BLOCK]) for start in range(0, count, BLOCK)])


def _cepstrum(frames: Floats) -> Floats:
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2 / FFT
    tiny = np.finfo(np.float64).eps
    energy = power.sum(1)
    bands = power @ _filters().T
    cepstrum: Floats = dct(np.log(np.where(bands == 0, tiny, bands)), type=2, axis=1, norm="ortho")[:, :COEFFICIENTS]
    cepstrum *= 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)
    cepstrum[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return cepstrum


def _filters() -> Floats:
    """Triangular filters (26, 257); their corners lie on whole bins of the spectrum."""
    mel = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), BANDS + 2)
    corners = np.floor((FFT + 1) * 700 * (10 ** (mel / 2595) - 1) / RATE)
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    bins = np.arange(FFT // 2 + 1)
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return np.asarray(np.where(bins < middle, rising, falling).clip(0))
