"""The mel spectrogram of Wav2Lip (which KDTalker uses), offline and as a stream.

Offline is the stream with one chunk after the other, so both give the same numbers::

    state = start()
    frames, state = step(chunk, state)      # (n, 80) as soon as they are known
    frames = finish(state)                  # the rest, with zeros after the end of the sound

All arithmetic is float64: the features were trained on float64 spectrograms.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kptalk.types import SAMPLE_RATE, Array

Frames = NDArray[np.float64]

N_FFT = 800  # samples, 50 ms, also the length of the Hann window
HOP = 200  # samples, 12.5 ms
FRAME_RATE = SAMPLE_RATE // HOP  # 80 mel frames per second
N_MELS = 80
SILENCE = -4.0  # the lowest value, also the value of digital silence
_PREEMPHASIS = 0.97
_BLOCK = 256  # mel frames computed at once: bounds memory however long a chunk is


@dataclass(frozen=True)
class MelState:
    """Where a stream stands: the sound still needed, how many samples came and how many mel frames went."""

    pending: Frames  # pre-emphasised samples from the start of the next frame on
    last: float  # last raw sample, for the pre-emphasis of the next one
    n_samples: int
    n_frames: int


def mel_spectrogram(samples: Array) -> Frames:
    """Mel spectrogram of a whole recording.

    Args:
        samples: (N,) float32 mono at 16 kHz.

    Returns:
        (80, T) float64 with T = 1 + N // 200; values from -4 (silence) to 4. Frame j is centred on sample 200 j and
        sees zeros before and after the sound.
    """
    head, state = step(samples, start())
    return np.asarray(np.concatenate([head, finish(state)]).T)


def start() -> MelState:
    """State of a stream before any sound."""
    return MelState(pending=np.zeros(N_FFT // 2), last=0.0, n_samples=0, n_frames=0)


def step(chunk: Array, state: MelState) -> tuple[Frames, MelState]:
    """Take (n,) samples of any n; returns the (k, 80) mel frames that became known, and the new state."""
    sound = np.concatenate([[state.last], np.asarray(chunk, np.float64)])
    pending = np.concatenate([state.pending, sound[1:] - _PREEMPHASIS * sound[:-1]])
    count = max(0, (len(pending) - N_FFT) // HOP + 1)
    frames = _mel_frames(pending, count)
    n_samples = state.n_samples + len(chunk)
    return frames, MelState(pending[count * HOP :], float(sound[-1]), n_samples, state.n_frames + count)


def finish(state: MelState) -> Frames:
    """The (k, 80) mel frames that remain, so that the stream gave 1 + N // 200 in all."""
    count = 1 + state.n_samples // HOP - state.n_frames
    return _mel_frames(np.concatenate([state.pending, np.zeros(N_FFT)]), count)


def _mel_frames(sound: Frames, count: int) -> Frames:
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    frames = np.zeros((count, N_MELS))
    for first in range(0, count, _BLOCK):
        block = slice(first, min(first + _BLOCK, count))
        strips = np.lib.stride_tricks.sliding_window_view(sound, N_FFT)[block.start * HOP : block.stop * HOP : HOP]
        magnitude = np.abs(np.fft.rfft(strips * hann))
        decibel = 20 * np.log10(np.maximum(1e-5, magnitude @ mel_basis().T)) - 20
        frames[block] = np.clip(8 * (decibel + 100) / 100 - 4, SILENCE, -SILENCE)
    return frames


@cache
def mel_basis() -> Array:
    """(80, 401) float32 triangular filters on Slaney's mel scale, each of unit area (Slaney norm), 55 to 7600 Hz."""
    # Slaney's scale: linear up to 1 kHz (15 mel) at 3 mel per 200 Hz, then logarithmic, 27 steps for a factor 6.4.
    log_step = np.log(6.4) / 27
    mels = np.linspace(55 * 3 / 200, 15 + np.log(7600 / 1000) / log_step, N_MELS + 2)
    corners = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(log_step * (mels - 15)))
    bins = np.arange(N_FFT // 2 + 1) * (SAMPLE_RATE / N_FFT)
    width = np.diff(corners)
    rising = (bins - corners[:-2, None]) / width[:-1, None]
    falling = (corners[2:, None] - bins) / width[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)  # rounded twice, as librosa does
    return np.asarray((triangles * (2 / (corners[2:] - corners[:-2]))[:, None]).astype(np.float32))
