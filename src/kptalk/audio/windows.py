"""One mel window for every video frame: 16 mel frames (0.2 s) around the frame's own instant.

As a stream::

    state = start(Fraction(25))
    windows, state = step(chunk, state)     # (n, 80, 16) for the next n video frames
    windows = finish(state)                 # the rest, frame_count(samples, fps) in all
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptalk.audio import mel
from kptalk.types import SAMPLE_RATE, Array, Floats

MEL_WINDOW = 16  # mel frames
_LEAD = Fraction(2, 25)  # seconds of sound before the frame's instant: two frames at 25 fps

Windows = Array  # (n, 80, 16)


def window_start(frame: float, fps: Fraction) -> int:
    """First mel frame of the window of a video frame, or of a place between two; negative for the first frames.

    KDTalker has int(80 (i - 2) / 25) at 25 fps. At any rate it is 80 (i / fps - 2 / 25), exact, truncated towards zero:
    what the network sees depends on the instant i / fps alone, not on the frame rate.
    """
    return math.trunc(mel.FRAME_RATE * (Fraction(frame) / fps - _LEAD))


def mel_windows(frames: Floats, places: NDArray[Any], fps: Fraction) -> Windows:
    """Windows (n, 80, 16) of mel frames (M, 80) at video frames (n,), possibly fractional; both ends repeat."""
    return _cut(frames, [window_start(place, fps) for place in places.tolist()])


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


def audio_windows(samples: Array, fps: Fraction) -> Windows:
    """Windows of a whole recording: (N,) float32 at 16 kHz -> (frame_count(N, fps), 80, 16) float32.

    Where a window reaches past either end of the spectrogram, its first or last frame repeats (as in KDTalker).
    """
    head, state = step(samples, start(fps))
    return np.concatenate([head, finish(state)])


def start(fps: Fraction) -> WindowState:
    """State of a stream before any sound."""
    return WindowState(Fraction(fps), mel.start(), np.zeros((0, mel.N_MELS)), 0)


def step(chunk: Array, state: WindowState) -> tuple[Windows, WindowState]:
    """Take (n,) samples at 16 kHz; returns windows (k, 80, 16) of the next k video frames, and the new state.

    A frame's window is known 0.13 s of sound after the frame's own instant.
    """
    fresh, sound = mel.step(chunk, state.sound)
    grown = replace(state, sound=sound, frames=np.concatenate([state.frames, fresh]))
    end = state.next_frame
    while window_start(end, state.fps) + MEL_WINDOW <= sound.n_frames:
        end += 1
    windows = _windows_until(end, grown)
    # One frame at least is kept: at the end of the sound it is what repeats.
    first_needed = min(max(0, window_start(end, state.fps)), max(0, sound.n_frames - 1))
    kept = grown.frames[len(grown.frames) - (sound.n_frames - first_needed) :]
    return windows, replace(grown, frames=kept, next_frame=end)


def finish(state: WindowState) -> Windows:
    """The windows (k, 80, 16) that remain after the last sample."""
    rest = mel.finish(state.sound)
    n_frames = state.sound.n_frames + len(rest)
    sound = replace(state.sound, n_frames=n_frames)
    ended = replace(state, sound=sound, frames=np.concatenate([state.frames, rest]))
    return _windows_until(frame_count(sound.n_samples, state.fps), ended)


def _windows_until(end: int, state: WindowState) -> Windows:
    """Windows of the video frames from ``state.next_frame`` to ``end`` (excluded) out of the mel frames held."""
    dropped = state.sound.n_frames - len(state.frames)
    return _cut(state.frames, [window_start(k, state.fps) - dropped for k in range(state.next_frame, end)])


def _cut(frames: Floats, starts: Sequence[int]) -> Windows:
    """Windows (n, 80, 16) of mel frames (m, 80) from the given ones on; both ends repeat."""
    indices = np.clip(np.array(starts, np.int64)[:, None] + np.arange(MEL_WINDOW), 0, max(0, len(frames) - 1))
    windows: Windows = frames[indices].transpose(0, 2, 1).astype(np.float32)
    return windows


class SpeechWindows:
    """Mel windows of a speech at one frame rate, as they become known; counts the samples meanwhile.

    Args:
        chunks: (n,) float32 samples each, at 16 kHz.
        fps: frames per second of the windows.
    """

    def __init__(self, chunks: Iterable[Array], fps: Fraction) -> None:
        self._chunks, self._fps = chunks, fps
        self.samples = 0

    def __iter__(self) -> Iterator[Windows]:
        """Windows (k, 80, 16) in pieces."""
        state = start(self._fps)
        for chunk in self._chunks:
            self.samples += len(chunk)
            windows, state = step(chunk, state)
            yield windows
        yield finish(state)

    def frame_count(self, fps: Fraction) -> int:
        """Frames at any frame rate for the samples so far."""
        return frame_count(self.samples, fps)
