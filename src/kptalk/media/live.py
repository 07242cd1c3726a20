"""Speech that is still being said: its samples as they come, and its sound for the video."""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptalk.errors import AudioError
from kptalk.media.audio import Speech, unit_range
from kptalk.types import SAMPLE_RATE, Array

AHEAD = Fraction(1, 4)  # seconds of sound that may be written before its pictures: AAC holds two packets back


class LiveSpeech(Speech):
    """The sound of a video in the making: what was heard is kept until it has been written.

    One thread may hear while another writes.

    Attributes:
        heard: samples so far, at 16 kHz.
    """

    def __init__(self) -> None:
        self._waiting: deque[Array] = deque()
        self.heard = 0
        super().__init__("the live sound", self._taken, SAMPLE_RATE, "mono", None)

    def hear(self, samples: Array) -> None:
        """Take in the next (n,) samples."""
        self._waiting.append(samples[None])
        self.heard += len(samples)

    def writable(self, until: int) -> int:
        return min(until + round(AHEAD * SAMPLE_RATE), self.heard)

    def _taken(self) -> Iterator[Array]:
        while self._waiting:
            yield self._waiting.popleft()


def live_samples(chunk: NDArray[Any]) -> Array:
    """A chunk of live sound as (n,) float32 in [-1, 1].

    Args:
        chunk: (n,) at 16 kHz, float in [-1, 1] or integers over their full range.

    Raises:
        AudioError: it is no such array.
    """
    if not isinstance(chunk, np.ndarray) or chunk.ndim != 1 or chunk.dtype.kind not in "fiu":
        found = f"{chunk.dtype} {chunk.shape}" if isinstance(chunk, np.ndarray) else type(chunk).__name__
        raise AudioError(f"live sound comes as {found}: give arrays (n,) of numbers at {SAMPLE_RATE} Hz")
    return unit_range(chunk)
