"""Speech to motion in windows of 64 frames, one after the other, as a stream (KDTalker, section 3.4).

What all generators share is written here: mel windows wait until a window is full; the last window is filled up with
silence; randomness is a function of the seed and the window's number, so that a state is a value. Where windows
overlap, the first frames of a window repeat those of the window before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import torch

from kptalk.audio import mean_norm
from kptalk.audio.mel import N_MELS, SILENCE
from kptalk.audio.windows import MEL_WINDOW, Windows
from kptalk.errors import MotionError, OptionError, WeightsError
from kptalk.motion.head import Doubles
from kptalk.motion.space import SourceT
from kptalk.options import Control
from kptalk.types import MODEL_FPS, Array, Motion
from kptalk.validation import shown

FPS = MODEL_FPS  # motion is resampled to the video's rate afterwards
WINDOW = 64  # frames in a window
LARGEST_TOKEN, LARGEST_FEATURE = 100.0, 1e4  # of a network's output, far beyond what any sound makes of a trained one
MemoryT = TypeVar("MemoryT")


@dataclass(frozen=True)
class WindowGrid:
    """The frames at which windows join: number ``first`` begins the second window, then one every ``stride`` frames."""

    first: int
    stride: int


@dataclass(frozen=True)
class GeneratorState(Generic[SourceT, MemoryT]):
    """Where a stream stands.

    ``windows`` (n, 80, 16) are the mel windows from the first frame of the next motion window on; ``number`` is that
    window's. ``mean_norm`` is the mean of the speech so far; ``memory`` is what the generator keeps of the
    windows before.
    """

    source: SourceT
    seed: int
    number: int
    windows: Windows
    mean_norm: mean_norm.MeanNormState
    memory: MemoryT


@dataclass(frozen=True)
class WindowInput:
    """Input of one window: ``mels`` (64, 80, 16), which ``mean_norm`` may be applied to; speech ``activity`` (64,).

    ``new_frames`` are those that the window before did not output, and ``rng`` draws the noise.
    """

    mels: Windows
    mean_norm: mean_norm.MeanNormState
    activity: Array
    new_frames: slice
    rng: np.random.Generator


class WindowGenerator(ABC, Generic[SourceT, MemoryT]):
    """Speech to motion at 25 fps for one kind of window.

    Attributes:
        grid: where windows meet.
        draws_blinks: whether the motion has blinks and gaze of its own.
        loudness: of the speech that it was trained on, in LUFS; None: it takes speech as loud as it is.
        speech_mel_mean: (80,) mean mel level of speech, the reference for silence.
    """

    grid: WindowGrid
    draws_blinks: bool
    loudness: float | None = None

    def __init__(self, speech_mel_mean: Array, device: torch.device) -> None:
        self.speech_mel_mean, self.device = speech_mel_mean, device

    @abstractmethod
    def with_steps(self, steps: int | None) -> WindowGenerator[SourceT, MemoryT]:
        """The same with another number of denoising steps; None keeps what suits the model."""

    def with_windows(self, stride: int, lookahead: int) -> WindowGenerator[SourceT, MemoryT]:
        """The same with ``stride`` new frames a window, ``lookahead`` of which the next window draws again.

        Raises:
            OptionError: the model's windows do not overlap, or no window has so many frames.
        """
        raise OptionError("this model cannot speak live: its windows do not overlap")

    @abstractmethod
    def first_memory(self, source: SourceT) -> MemoryT:
        """What is remembered before the first window."""

    @abstractmethod
    def draw(self, window: WindowInput, source: SourceT, memory: MemoryT) -> tuple[Motion, MemoryT]:
        """The motion of the frames ``window.new_frames``, and what the next window needs to know."""

    def style(self, control: Control, seed: int) -> Doubles:
        """Numbers (n,) of how the person moves, which ``seed`` draws where the options do not say; (0,) where a model
        knows no styles.

        Raises:
            OptionError: the options ask for a style, and the model knows none.
            MotionError: the motion whose style is wanted is too short, or of another motion space.
        """
        for name in ("style", "liveliness", "head_spread"):
            if (wanted := getattr(control, name)) != getattr(Control(), name):
                raise OptionError(f"{name} is {shown(wanted)}: this model draws the head by diffusion, without styles")
        return np.zeros(0)

    def start(self, source: SourceT, seed: int, style: Doubles | None = None) -> GeneratorState[SourceT, MemoryT]:
        """State before the first mel window; a generator that knows styles draws one where none is given."""
        windows = np.zeros((0, N_MELS, MEL_WINDOW), np.float32)
        norm = mean_norm.start(self.speech_mel_mean)
        return GeneratorState(source, seed, 0, windows, norm, self.first_memory(source))

    def step(
        self, windows: Windows, state: GeneratorState[SourceT, MemoryT]
    ) -> tuple[Motion, Array, GeneratorState[SourceT, MemoryT]]:
        """Take in (n, 80, 16) mel windows of the next n frames.

        Returns:
            the motion of the frames that became known (between 0 and n + 64 of them), how much speech there is in each,
            (k,) float32 from 0 to 1, and the new state.

        Raises:
            WeightsError: a network gives numbers that make no motion.
        """
        state = replace(state, windows=np.concatenate([state.windows, windows]))
        motion, activity = [state.source.motion[:0]], [np.zeros(0, np.float32)]
        while len(state.windows) >= WINDOW:
            drawn, active, state = self._window(self.grid.first, state)
            motion.append(drawn)
            activity.append(active)
        return Motion.concatenate(motion), np.concatenate(activity), state

    def finish(self, state: GeneratorState[SourceT, MemoryT]) -> tuple[Motion, Array]:
        """Motion and speech activity of the frames that remain; after the end there is silence."""
        remaining = len(state.windows)
        if remaining <= self._overlap(state):
            return state.source.motion[:0], np.zeros(0, np.float32)
        silence = np.full((max(0, WINDOW - remaining), *state.windows.shape[1:]), SILENCE, np.float32)
        padded = replace(state, windows=np.concatenate([state.windows, silence]))
        return self._window(remaining, padded)[:2]

    def tensor(self, array: Array) -> torch.Tensor:
        """An array as float32 on the device of the networks."""
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self.device)

    def _overlap(self, state: GeneratorState[SourceT, MemoryT]) -> int:
        """How many of the next window's first frames repeat the window before."""
        return self.grid.first - self.grid.stride if state.number else 0

    def _window(
        self, end: int, state: GeneratorState[SourceT, MemoryT]
    ) -> tuple[Motion, Array, GeneratorState[SourceT, MemoryT]]:
        """Draw the next window; of its frames those before ``end`` are output."""
        windows, repeated = state.windows[:WINDOW], WINDOW - self.grid.stride if state.number else 0
        norm = mean_norm.update(windows[repeated:], state.mean_norm)
        activity, new_frames = speech_activity(windows, norm), slice(self._overlap(state), end)
        rng = np.random.default_rng([state.seed, 0, state.number])
        window = WindowInput(windows, norm, activity, new_frames, rng)
        try:
            motion, memory = self.draw(window, state.source, state.memory)
        except MotionError as error:
            raise WeightsError(f"the model makes motion that cannot be: {error}; its weights are damaged") from error
        rest = state.windows[self.grid.stride :]
        state = replace(state, number=state.number + 1, windows=rest, mean_norm=norm, memory=memory)
        return motion, activity[new_frames], state


def check_output(values: torch.Tensor, network: str, largest: float = LARGEST_TOKEN) -> torch.Tensor:
    """The output of a network of the model, where it can be that of a trained one.

    Raises:
        WeightsError: it is not finite, or far larger than any speech makes it.
    """
    peak = float(values.abs().max())  # NaN where any number is
    if peak <= largest:
        return values
    seen = f"up to {peak:.3g}" if np.isfinite(peak) else "that are not finite"
    raise WeightsError(f"the model's {network} gives numbers {seen}: its weights are damaged, or its training failed")


def speech_levels(windows: Windows) -> Array:
    """Mel level of the sound at each frame, (n, 80, 16) to (n,)."""
    levels: Array = windows[:, :, 5:11].mean((1, 2))
    return levels


def speech_activity(windows: Windows, state: mean_norm.MeanNormState) -> Array:
    """How much speech each frame holds, (n, 80, 16) to (n,) from 0 (silence) to 1.

    A frame counts by its loudness against the speech so far, 25 dB below it is silence; the lips move from three
    frames before a sound to two after it.
    """
    loudness = speech_levels(windows)
    usual = float((state.total / state.weight).mean())
    active = np.clip((loudness - max(usual - 2.0, SILENCE + 0.4)) / 0.8, 0, 1)
    padded = np.pad(active, (2, 3), mode="edge")
    widest = np.lib.stride_tricks.sliding_window_view(padded, 6).max(-1)
    smooth = np.convolve(np.pad(widest, 2, mode="edge"), np.array([1, 2, 3, 2, 1]) / 9, "valid")
    return smooth.astype(np.float32)
