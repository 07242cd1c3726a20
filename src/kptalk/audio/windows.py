"""One mel window for every video frame: 16 mel frames (0.2 s) around the frame's own instant.

A stream as in ``mel``; it gives frame_count(samples, fps) windows in all. Where a window reaches past either end of the
spectrogram, its first or last frame repeats (as in KDTalker).
"""

import hashlib
import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike

from kptalk.audio import loudness, mel
from kptalk.types import SAMPLE_RATE, Array, Floats

MEL_WINDOW = 16  # mel frames
PATIENCE = 60 * SAMPLE_RATE  # samples, after which silence is worth a warning
_LEAD = Fraction(2, 25)  # seconds of sound before the frame's instant: two frames at 25 fps
HEARD_AFTER = Fraction("0.1325")  # seconds of sound after a frame that its window reaches to, with half an FFT window
SEED_SECONDS = 2  # of sound that the seed of a speech follows from; generators wait for more than that anyway
SEED_BLOCK = SAMPLE_RATE // 25  # samples whose level is one number of it

Windows = Array  # (n, 80, 16)


def window_start(frame: float, fps: Fraction) -> int:
    """First mel frame of the window of a video frame, or of a place between two; negative for the first frames.

    KDTalker has int(80 (i - 2) / 25) at 25 fps. At any rate it is 80 (i / fps - 2 / 25), exact, truncated towards zero:
    what the network sees depends on the instant i / fps alone, not on the frame rate.
    """
    return math.trunc(mel.FRAME_RATE * (Fraction(frame) / fps - _LEAD))


def mel_windows(frames: Floats, places: ArrayLike, fps: Fraction, first: int = 0) -> Windows:
    """Windows (n, 80, 16) of mel frames (M, 80) at video frames (n,), possibly fractional; both ends repeat.

    ``first`` is the number that ``frames[0]`` has in the spectrogram.
    """
    starts = np.array([window_start(place, fps) - first for place in np.asarray(places).tolist()], np.int64)
    indices = np.clip(starts[:, None] + np.arange(MEL_WINDOW), 0, max(0, len(frames) - 1))
    return np.asarray(frames[indices].transpose(0, 2, 1), np.float32)


def frame_count(n_samples: int, fps: Fraction) -> int:
    """Video frames for a sound of n samples at 16 kHz: rounded up, so that the picture never ends before the sound."""
    return max(1, math.ceil(n_samples * Fraction(fps) / SAMPLE_RATE))


@dataclass(frozen=True)
class WindowState:
    """Where a stream stands: the mel frames still needed and the next video frame."""

    fps: Fraction
    sound: mel.MelState
    frames: mel.Frames  # (m, 80) the latest mel frames
    next_frame: int


def start(fps: Fraction) -> WindowState:
    """State of a stream before any sound."""
    return WindowState(Fraction(fps), mel.start(), np.zeros((0, mel.N_MELS)), 0)


def step(chunk: Array, state: WindowState) -> tuple[Windows, WindowState]:
    """Take (n,) samples at 16 kHz; returns windows (k, 80, 16) of the next k video frames, and the new state.

    A frame's window is known 0.13 s of sound after the frame's own instant.
    """
    fresh, sound = mel.step(chunk, state.sound)
    end = state.next_frame
    while window_start(end, state.fps) + MEL_WINDOW <= sound.n_frames:
        end += 1
    frames = np.concatenate([state.frames, fresh])
    first = sound.n_frames - len(frames)
    windows = mel_windows(frames, range(state.next_frame, end), state.fps, first)
    # One frame at least is kept: at the end of the sound it is what repeats.
    needed = min(max(0, window_start(end, state.fps)), max(0, sound.n_frames - 1))
    return windows, WindowState(state.fps, sound, frames[needed - first :], end)


def finish(state: WindowState) -> Windows:
    """The windows (k, 80, 16) that remain after the last sample."""
    frames = np.concatenate([state.frames, mel.finish(state.sound)])
    places = range(state.next_frame, frame_count(state.sound.n_samples, state.fps))
    return mel_windows(frames, places, state.fps, first=state.sound.n_frames - len(state.frames))


class SpeechWindows:
    """Mel windows (k, 80, 16) of a speech at one frame rate, as they become known; counts the samples meanwhile.

    ``chunks`` are (n,) float32 samples each, at 16 kHz; ``fps`` are the windows' frames per second.
    """

    def __init__(self, chunks: Iterable[Array], fps: Fraction) -> None:
        self._chunks, self._fps = chunks, fps
        self.samples = 0

    def __iter__(self) -> Iterator[Windows]:
        return self.at_loudness(None)

    def at_loudness(self, target: float | None) -> Iterator[Windows]:
        """The windows of the speech brought to a loudness in LUFS; None takes it as it is.

        Warns, at the end or after a minute, if there has been nothing that could be speech.
        """
        state, level, silent, told = start(self._fps), loudness.start(), True, False
        for chunk in self._chunks:
            self.samples += len(chunk)
            silent = silent and not chunk.any()
            sound, level = loudness.step(chunk, target, level)
            if not told and self.samples > PATIENCE:
                told = _warn_of_silence(level, silent)
            windows, state = step(sound, state)
            yield windows
        sound, level = loudness.finish(target, level)
        if not told and self.samples:
            _warn_of_silence(level, silent)
        windows, state = step(sound, state)
        yield np.concatenate([windows, finish(state)])

    def frame_count(self, fps: Fraction) -> int:
        """Frames at any frame rate for the samples so far."""
        return frame_count(self.samples, fps)

    def seed(self, seed: int) -> int:
        """A seed for this speech, of 64 bits: of the same ``seed`` and sound the same, else another.

        The first two seconds count, which are read ahead; by the levels of their blocks in whole decibels, so that
        rounding on another machine, and how the sound comes in chunks, make no difference.
        """
        chunks, head = iter(self._chunks), [np.zeros(0, np.float32)]
        while sum(map(len, head)) < SEED_SECONDS * SAMPLE_RATE and (chunk := next(chunks, None)) is not None:
            head.append(chunk)
        self._chunks = chain(head, chunks)
        samples = np.concatenate(head)[: SEED_SECONDS * SAMPLE_RATE].astype(np.float64)
        power = [float(np.mean(samples[at : at + SEED_BLOCK] ** 2)) for at in range(0, len(samples), SEED_BLOCK)]
        levels = [round(10 * math.log10(each + 1e-9)) for each in power]
        return int.from_bytes(hashlib.sha256(f"{seed} {levels}".encode()).digest()[:8], "little")


class LiveWindows(SpeechWindows):
    """The same of a speech that is still being said: nothing waits for what comes, and silence is worth no warning."""

    def at_loudness(self, target: float | None) -> Iterator[Windows]:
        """One piece of windows for every chunk, and the rest; the loudness is that of the speech so far."""
        state, level = start(self._fps), loudness.start()
        for chunk in self._chunks:
            self.samples += len(chunk)
            sound, level = loudness.step_now(chunk, target, level)
            windows, state = step(sound, state)
            yield windows
        yield finish(state)

    def seed(self, seed: int) -> int:
        return seed


def _warn_of_silence(level: loudness.LoudnessState, silent: bool) -> bool:
    """Warn if there has been nothing that could be speech; True where there is nothing more to say."""
    if not loudness.may_be_speech(level):
        found = "no sound at all" if silent else "hardly any sound"
        warnings.warn(f"{found} in the recording: the mouth stays shut", stacklevel=2)
    return True
