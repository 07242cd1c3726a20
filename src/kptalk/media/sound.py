"""The sound of a video: the recording's own packets where MP4 can hold them, otherwise encoded anew as AAC."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.error import FFmpegError

from kptalk.errors import AudioError
from kptalk.media.audio import Speech
from kptalk.media.container import open_stream, packets
from kptalk.types import Array

AAC_FRAME = 1024  # samples
BIT_RATE = 96_000  # per channel
COPIED_FROM = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "mp3", "aac", "matroska,webm", "flv"})  # FFmpeg's names
LOWEST_MP3_RATE = 16_000  # samples per second, in MP4
MOST_PRIMING = 4  # packets whose sound comes before the recording's first sample


class SoundTrack(Protocol):
    """The sound in a container, written piece by piece beside the pictures."""

    def write(self, end: Fraction, finish: bool = False) -> None:
        """Write whole packets up to ``end``, in seconds; to finish, exactly up to it."""

    def close(self) -> None:
        """Close the recording."""


def add_sound(container: Any, speech: Speech, copied: bool = True) -> SoundTrack:
    """Add a track for the sound of a speech to a container that is to be written.

    AAC-LC and MP3 are copied packet by packet; they end with the recording. Anything else, and a file with damaged
    packets or another kind of sound in the middle, is encoded as AAC, followed by silence up to the pictures' end; so
    is everything where ``copied`` is False: nothing is looked through first, and browsers play AAC in streams.
    """
    form = _form(speech) if copied else None
    return EncodedSound(container, speech) if form is None else CopiedSound(container, speech, form)


class EncodedSound:
    """The sound of a speech as AAC; see ``SoundTrack``."""

    def __init__(self, container: Any, speech: Speech) -> None:
        self._container, self._speech, self._samples = container, speech, 0
        # On speech FFmpeg's other coder is no closer to the original and twice as slow; on plain tones it is worse.
        options = {"aac_coder": "fast"}
        self._stream = container.add_stream("aac", rate=speech.rate, layout=speech.layout, options=options)
        self._stream.bit_rate = speech.channels * min(BIT_RATE, 6 * speech.rate)  # AAC has 6 bits a sample at most
        self._blocks: Iterator[Array] = speech.sound(AAC_FRAME)

    def write(self, end: Fraction, finish: bool = False) -> None:
        until = round(end * self._speech.rate)
        until = until if finish else self._speech.writable(until)
        while self._samples + (1 if finish else AAC_FRAME) <= until:
            length = min(AAC_FRAME, until - self._samples)
            block = next(self._blocks, np.zeros((self._speech.channels, 0), np.float32))[:, :length]
            block = np.ascontiguousarray(np.pad(block, ((0, 0), (0, length - block.shape[1]))))
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=self._speech.layout)
            frame.sample_rate, frame.pts = self._speech.rate, self._samples
            frame.time_base = Fraction(1, self._speech.rate)
            self._container.mux(self._stream.encode(frame))
            self._samples += length
        if finish:
            self._container.mux(self._stream.encode(None))

    def close(self) -> None:
        self._blocks = iter(())  # closes the recording


@dataclass(frozen=True)
class _Form:
    """Packets of ``size`` samples each at ``rate`` Hz; the first ``priming`` samples are not the recording's."""

    rate: int
    size: int
    priming: int


class CopiedSound:
    """The packets of a recording; see ``SoundTrack``."""

    def __init__(self, container: Any, speech: Speech, form: _Form) -> None:
        self._container, self._form, self._next = container, form, -form.priming
        self._source = ExitStack()
        source, stream = self._source.enter_context(_open(speech))
        self._stream = container.add_stream_from_template(stream)
        self._packets = _without_headers(packets(source, stream), stream, self._stream)

    def write(self, end: Fraction, finish: bool = False) -> None:
        until, size = round(end * self._form.rate), self._form.size
        while self._next + (1 if finish else size) <= until and (packet := next(self._packets, None)) is not None:
            packet.stream, packet.time_base = self._stream, Fraction(1, self._form.rate)
            packet.pts = packet.dts = self._next
            packet.duration = min(size, until - self._next)
            self._container.mux(packet)
            self._next += size

    def close(self) -> None:
        self._packets = iter(())
        self._source.close()


def _without_headers(own: Iterator[Any], stream: Any, target: Any) -> Iterator[Any]:
    """The packets of a stream without what its container says of each, which is not true of a part of it."""
    context, bare = stream.codec_context, None
    if context.name == "aac" and not context.extradata:  # ADTS: every packet says what MP4 says once
        bare = BitStreamFilterContext("aac_adtstoasc", stream, target)
    for packet in own:
        if packet is None:
            return
        fresh = av.Packet(bytes(packet))
        fresh.is_keyframe, fresh.time_base = True, packet.time_base
        yield from [fresh] if bare is None else bare.filter(fresh)


def _open(speech: Speech) -> AbstractContextManager[tuple[Any, Any]]:
    assert speech.recording is not None
    return open_stream(speech.recording, "audio", AudioError, speech.name)


def _form(speech: Speech) -> _Form | None:
    """How a recording's packets can be copied into MP4; None if they cannot. Decodes all of them, and keeps none."""
    if speech.recording is None:
        return None
    with _open(speech) as (container, stream):
        context = stream.codec_context
        if container.format.name not in COPIED_FROM:
            return None
        if context.name == "aac" and context.profile == "LC":
            size = AAC_FRAME
        elif context.name in ("mp3", "mp3float") and context.sample_rate >= LOWEST_MP3_RATE:
            size = context.frame_size
        else:
            return None
        priming, begun, ended, forms = 0, False, False, set()
        for packet in packets(container, stream):
            try:
                frames = stream.decode(packet)
            except (FFmpegError, OSError, ValueError):
                return None
            if packet is None:
                break
            samples = sum(frame.samples for frame in frames)
            forms |= {(frame.sample_rate, frame.layout.name) for frame in frames}
            # Only the first packets, which prime the decoder, and the last one may give less than they hold.
            if samples > size or ended or len(forms) > 1:
                return None
            if not begun:
                priming += size - samples
            ended, begun = begun and samples < size, begun or samples > 0
        if not begun or priming > MOST_PRIMING * size:
            return None
        return _Form(forms.pop()[0], size, priming)
