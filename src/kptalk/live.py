"""A portrait that speaks while its speech is still being said: from a microphone, a call, a synthesiser."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptalk.audio.windows import HEARD_AFTER, LiveWindows
from kptalk.face.framing import Framing
from kptalk.media.encoder import VideoWriter
from kptalk.media.live import LiveSpeech, live_samples
from kptalk.media.sink import BytesWriter
from kptalk.media.stream import StreamSink
from kptalk.media.watermark_code import Payload
from kptalk.methods.base import Method
from kptalk.motion.generator import FPS, WINDOW
from kptalk.options import Options
from kptalk.types import SAMPLE_RATE, Array, Image, Motion

STRIDE, LOOKAHEAD = 6, 6  # frames, see ``WindowGenerator.with_windows``: fewer come sooner and cost more
HISTORY = WINDOW + 4  # frames of silence before the speech: what the first window needs is there at once
COMPUTING = Fraction(3, 25)  # seconds that drawing a window's first frame may take
FRAME = SAMPLE_RATE // int(FPS)  # samples
FRAGMENT = 40_000  # microseconds of video that may wait for more

logger = logging.getLogger(__name__)


class LiveAnimation:
    """A portrait that listens: frames come out while sound goes in.

    The face moves before anyone speaks, and the mouth rests in silence. The first ``lead`` frames belong to silence
    before the first sample; frame ``lead + k`` belongs to the sound at k / 25 s, and is known ``delay`` seconds after
    it. One reading at a time; each begins anew.

    Attributes:
        size: width and height of the frames in pixels.
        fps: 25.
        delay: seconds from a sound to the frame that shows it, at most, without the time to compute.
        lead: frames before the first sample.
    """

    def __init__(
        self,
        method: Method,
        framing: Framing,
        options: Options,
        tags: dict[str, str],
        stride: int = STRIDE,
        lookahead: int = LOOKAHEAD,
        watermark: Payload | None = None,
    ) -> None:
        """Prepare the portrait; see ``Pipeline.live``."""
        method = method.speaking_live(stride, lookahead)
        self._session, self._options, self._tags = method.session(framing, options), options, tags
        self.size, self.fps = (framing.photo.shape[1], framing.photo.shape[0]), FPS
        self._stride, self._watermark = stride, watermark
        self.delay = float(method.delay)
        self.lead = min(HISTORY, ceil((method.delay + COMPUTING) * FPS))

    def __repr__(self) -> str:
        return f"<LiveAnimation {self.size[0]}x{self.size[1]}, {self.delay:.2f} s behind the sound>"

    def frames(self, chunks: Iterable[NDArray[Any]]) -> Generator[Image, None, None]:
        """Single frames (H, W, 3) uint8 RGB, each as soon as it is drawn.

        Args:
            chunks: the sound as it comes, (n,) at 16 kHz each: float in [-1, 1], or integers over their full range. The
                iterator waits for the sound; where it ends, the last frames are drawn.

        Raises:
            AudioError: a chunk is no such array.
        """
        for frames in self._session.render(self._motion(map(live_samples, chunks)), 1, self._options.seed):
            yield from frames

    def save(self, chunks: Iterable[NDArray[Any]], target: BytesWriter) -> None:
        """Write picture and sound as fragmented MP4 while they come.

        Args:
            chunks: as for ``frames``.
            target: what takes bytes by ``write``: an open file, a pipe, an object of your own.

        Raises:
            AudioError: a chunk is no array of sound.
            OutputError: the target takes no bytes.
        """
        sound = LiveSpeech()
        sound.hear(np.zeros(self.lead * FRAME, np.float32))

        def heard() -> Iterator[Array]:
            for chunk in map(live_samples, chunks):
                sound.hear(chunk)
                yield chunk

        sink = StreamSink(target, low_delay=True, fragment=FRAGMENT)
        with (
            VideoWriter(sink, self.fps, self.size, sound, self._tags, self._watermark) as writer,
            closing(self.frames(heard())) as all_,
        ):
            for frame in all_:
                writer.write(frame[None])

    def _motion(self, chunks: Iterator[Array]) -> Iterator[Motion]:
        """The motion from the first frame that is shown."""

        sound = pieces(chunks, self._stride)
        unseen = HISTORY - self.lead
        for motion in self._session.generate(LiveWindows(sound, FPS), self._options):
            if len(shown := motion[unseen:]):
                yield shown
            unseen = max(0, unseen - len(motion))


def pieces(chunks: Iterable[Array], stride: int) -> Iterator[Array]:
    """The silence before a speech, and the speech in pieces that end where the next motion window becomes known."""
    yield np.zeros(HISTORY * FRAME, np.float32)
    wanted = ceil(((WINDOW + stride - 1) / FPS + HEARD_AFTER) * SAMPLE_RATE) - HISTORY * FRAME
    waiting = np.zeros(0, np.float32)
    for chunk in chunks:
        waiting = np.concatenate([waiting, chunk])
        while len(waiting) >= wanted:
            yield waiting[:wanted]
            waiting, wanted = waiting[wanted:], stride * FRAME
    yield waiting
