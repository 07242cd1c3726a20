"""Speech as a lazily read source: 16 kHz mono for the models, the original sound for the finished video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from os import PathLike
from typing import IO, Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from kptalk.errors import AudioError
from kptalk.media.container import Recording, as_recording, decode, duration, name_of, open_stream
from kptalk.types import SAMPLE_RATE, Array

FALLBACK_RATE = 48_000
AAC_RATES = frozenset({48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000})  # higher ones nobody hears
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1"}  # by number of channels
CANCELLED = 0.01  # power of the channels' mean against the loudest channel's, 20 dB, below which they cancel
LOUDER = 4.0  # how much more power another channel needs to take over from the one that was chosen
MEMORY = 0.8  # share of the channels' power that counts on in the next second


class Speech:
    """A recording of speech; nothing of it is held, every pass over it decodes from its start.

    Attributes:
        name: where it comes from, for messages.
        rate: samples per second of ``sound``: the recording's own, where AAC can carry it, at most 48000.
        layout: FFmpeg's name of the channel layout of ``sound``: mono or stereo.
        channels: number of channels of ``sound``.
        duration_hint: seconds that the container promises, or None; only a full pass knows.
        recording: what was opened, or None.
    """

    def __init__(
        self,
        name: str,
        blocks: Callable[[], Iterator[Array]],
        rate: int,
        layout: str,
        duration: Fraction | None,
        recording: Recording | None = None,
    ) -> None:
        """Take a source: ``blocks`` starts a pass that yields (C, n) float32 at ``rate`` Hz in ``layout``."""
        layout = _named(layout)
        self.name, self.duration_hint, self.recording = name, duration, recording
        self._blocks, self._source = blocks, (rate, layout)
        self.rate = rate if rate in AAC_RATES else FALLBACK_RATE
        self.layout = "mono" if _is_unnamed(layout) or av.AudioLayout(layout).nb_channels == 1 else "stereo"
        self.channels: int = av.AudioLayout(self.layout).nb_channels

    def __repr__(self) -> str:
        length = "" if self.duration_hint is None else f", {float(self.duration_hint):.2f} s"
        return f"<Speech {self.name!r}{length}, {self.rate} Hz, {self.layout}>"

    @classmethod
    def open(cls, recording: str | PathLike[str] | bytes | IO[bytes]) -> Speech:
        """Open a sound file, or the sound of a video file.

        Args:
            recording: its path, its content, or a binary file, of which the rest is read now, and held.

        Raises:
            AudioError: the file is absent, unreadable, without sound, or none of its sound can be decoded.
        """
        name, source = name_of(recording), as_recording(recording, AudioError)
        with open_stream(source, "audio", AudioError, name) as (container, stream):
            first = next((frame for frame in decode(container, stream) if frame.samples), None)
            if first is None:
                raise AudioError(f"{name} has a sound stream, but no sample of it can be decoded")
            rate, layout = first.sample_rate, first.layout.name
            _check_rate(name, rate)
            promised = duration(container, stream)

        def blocks() -> Iterator[Array]:
            with open_stream(source, "audio", AudioError, name) as (container, stream):
                yield from map(_planes, _uniform(decode(container, stream), rate, layout))

        return cls(name, blocks, rate, layout, promised, source)

    @classmethod
    def from_samples(cls, samples: NDArray[Any], rate: int) -> Speech:
        """Speech from an array.

        Args:
            samples: (N,) or (N, C), float in [-1, 1] or integers over their full range.
            rate: samples per second.

        Raises:
            AudioError: no samples, another shape or type, NaN or infinity among them, or an impossible rate.
        """
        try:
            samples = np.asarray(samples)
        except (TypeError, ValueError) as error:
            raise AudioError(f"samples cannot be {type(samples).__name__}: give an array (N,) or (N, C)") from error
        if samples.ndim not in (1, 2) or samples.size == 0 or samples.dtype.kind not in "fiu":
            raise AudioError(f"samples are {samples.dtype} {samples.shape}: give (N,) or (N, C) numbers, N > 0")
        if not np.isfinite(samples).all():
            raise AudioError("samples hold NaN or infinity: give finite numbers in [-1, 1]")
        columns = samples.reshape(len(samples), -1)
        length, channels = columns.shape
        if channels > length:
            raise AudioError(f"samples of shape {samples.shape} have more channels than samples: give (N, C)")
        try:
            rate = int(rate)
        except (TypeError, ValueError, OverflowError) as error:
            raise AudioError(f"samples: the rate {rate!r} is no number of samples per second") from error
        _check_rate("samples", rate)

        def blocks() -> Iterator[Array]:
            return (unit_range(columns[start : start + rate].T) for start in range(0, length, rate))

        return cls("samples", blocks, rate, f"{channels} channels", Fraction(length, rate))

    def writable(self, until: int) -> int:
        """How many samples of ``sound`` may be written beside pictures that end at sample ``until``."""
        return until

    def chunks(self, seconds: float = 1.0) -> Iterator[Array]:
        """The speech for the models: mono (the mean of the channels, see ``_mix``), 16 kHz, in [-1, 1], no NaN.

        Args:
            seconds: length of each chunk; the last one is shorter.

        Yields:
            (n,) float32; in all ceil(N * 16000 / rate) samples for a recording of N.
        """
        rate = self._source[0]
        blocks = _resample(_mix(self._blocks(), rate), rate, SAMPLE_RATE, "mono", "mono")
        for piece in rechunk(blocks, max(1, round(seconds * SAMPLE_RATE))):
            yield piece[0].clip(-1, 1)

    def sound(self, size: int) -> Iterator[Array]:
        """The original sound for the video file, at ``rate`` Hz and in ``layout``.

        Args:
            size: samples in each block; the last one is shorter.

        Yields:
            (channels, n) float32 in [-1, 1].
        """
        rate, layout = self._source
        blocks = self._blocks()
        if _is_unnamed(layout):
            blocks, layout = _mix(blocks, rate), "mono"
        for piece in rechunk(_resample(blocks, rate, self.rate, layout, self.layout), size):
            yield piece.clip(-1, 1)


def rechunk(blocks: Iterable[Array], size: int) -> Iterator[Array]:
    """Cut (C, n) blocks of any length into (C, size) ones; the last one is shorter."""
    held: list[Array] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += block.shape[1]
        if count >= size:
            joined = np.concatenate(held, axis=1)
            whole = count - count % size
            for start in range(0, whole, size):
                yield joined[:, start : start + size]
            held, count = [joined[:, whole:]], count - whole
    if count:
        yield np.concatenate(held, axis=1)


def _mix(blocks: Iterator[Array], rate: int) -> Iterator[Array]:
    """(C, n) blocks as (1, n): the mean of the channels, or the loudest of them for as long as they cancel.

    Decided for every second of sound, by the power in the last few seconds, so the blocks' lengths do not matter.
    """
    power, loudest = np.zeros(1), 0
    for block in rechunk(blocks, rate):
        mean = block.mean(0, keepdims=True)
        if len(block) == 1:
            yield block
            continue
        power = MEMORY * power + np.square(np.concatenate([mean, block]), dtype=np.float64).sum(1)
        best = int(power[1:].argmax())
        if power[1 + best] > LOUDER * power[1 + loudest]:
            loudest = best
        yield block[loudest : loudest + 1] if power[0] < CANCELLED * power[1 + best] else mean


def _is_unnamed(layout: str) -> bool:
    """Whether the layout is just a number of channels, so that FFmpeg cannot tell which one is the voice's."""
    return layout.endswith(" channels")


def _named(layout: str) -> str:
    """The usual layout for a mere number of channels, up to six."""
    return LAYOUTS.get(int(layout.split()[0]), layout) if _is_unnamed(layout) else layout


def _check_rate(name: str, rate: int) -> None:
    if not 1_000 <= rate <= 1_000_000:
        raise AudioError(f"{name}: unsupported sample rate {rate} Hz")


def _uniform(frames: Iterable[Any], rate: int, layout: str) -> Iterator[Any]:
    """Bring frames whose rate or layout changes within the file (chained Ogg, broadcast recordings) to the first."""
    resampler: Any = None
    form = None
    for frame in frames:
        # PyAV 18.1 takes 8 planes for 9: it would read past the last one, and crash.
        miscounted = frame.format.is_planar and frame.layout.nb_channels >= 8
        if (frame.sample_rate, frame.layout.name) == (rate, layout) and not miscounted:
            yield frame
            continue
        if form != (frame.format.name, frame.sample_rate, frame.layout.name):
            form = (frame.format.name, frame.sample_rate, frame.layout.name)
            resampler = av.AudioResampler("flt", _named(layout), rate)
        frame.pts = None
        with suppress(FFmpegError, ValueError):  # no known way between the layouts: as good as damaged
            yield from resampler.resample(frame)


def _resample(blocks: Iterable[Array], rate: int, new_rate: int, layout: str, new_layout: str) -> Iterator[Array]:
    """Resample (C, n) blocks to exactly ceil(N * new_rate / rate) samples."""
    if (rate, layout) == (new_rate, new_layout):
        yield from blocks
        return
    resampler = av.AudioResampler("fltp", new_layout, new_rate)
    taken = given = 0
    for block in blocks:
        taken += block.shape[1]
        for frame in resampler.resample(_frame(block, rate, layout)):
            given += frame.samples
            yield frame.to_ndarray()
    # The filter keeps its last half; silence pushes it out, also for input that is shorter than the filter.
    channels = av.AudioLayout(layout).nb_channels
    silence = np.zeros((channels, rate // 10 + 1), np.float32)
    missing = -(-taken * new_rate // rate) - given
    for frame in [*resampler.resample(_frame(silence, rate, layout)), *resampler.resample(None)]:
        piece = frame.to_ndarray()[:, : max(0, missing)]
        missing -= piece.shape[1]
        if piece.size:
            yield piece


def _frame(block: Array, rate: int, layout: str) -> Any:
    # Interleaved, for the reason given in _uniform.
    packed = np.ascontiguousarray(block.T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate = rate
    return frame


def _planes(frame: Any) -> Array:
    """A decoded frame as (C, n) float32."""
    values = frame.to_ndarray()
    if frame.format.is_packed:
        values = values.reshape(-1, frame.layout.nb_channels).T
    return unit_range(values)


def unit_range(values: NDArray[Any]) -> Array:
    """Numbers of any type to float32 in [-1, 1]: integers by their range; silence instead of NaN and infinity."""
    if values.dtype.kind == "f":
        return np.asarray(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).clip(-1, 1), np.float32)
    half = 2.0 ** (8 * values.dtype.itemsize - 1)
    offset = half if values.dtype.kind == "u" else 0.0
    return ((values.astype(np.float64) - offset) / half).astype(np.float32)
