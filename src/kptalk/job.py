"""One video in the making: motion is drawn, put into the photo, and encoded, all as a stream."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TypeVar

from kptalk.ahead import read_ahead
from kptalk.face.framing import Framing
from kptalk.files import MOTION_SUFFIX, check_writable
from kptalk.media.audio import Speech
from kptalk.media.encoder import VideoWriter
from kptalk.media.sink import FileSink
from kptalk.methods.base import Method, Session
from kptalk.types import Image, Motion

BATCH_SIZE = 8  # frames drawn together, fewer of large ones; bounds memory
BATCH_BYTES = 40_000_000  # in them, at most: 8 frames of 1280 x 1280
QUEUE_DEPTH = 4  # drawn batches that may wait for the encoder
MOTION_AHEAD = 3  # pieces of motion, mostly of a second or two, that may wait to be drawn
STAGES = ("motion", "drawing", "encoding")
Progress = Callable[[str, int, int | None], None]  # stage, frames done, frames in all if known
T = TypeVar("T")


@dataclass(frozen=True)
class RenderJob:
    """What there is to draw.

    Attributes:
        motion: from the prepared portrait to its motion, in pieces.
        fps: of the motion and the video.
        sound: of the video, or None.
        expected: how many frames there will be, as far as one can know.
        tags: what the file says of itself.
        seed: of a renderer that draws at random.
    """

    motion: Callable[[Session], Iterator[Motion]]
    fps: Fraction
    sound: Speech | None
    expected: int | None
    tags: dict[str, str]
    seed: int = 0


class Animation:
    """One video of a portrait, made while it is read or saved."""

    def __init__(self, method: Method, framing: Framing, job: RenderJob) -> None:
        self.framing, self._job = framing, job
        started = time.perf_counter()
        self._session = method.session(framing)
        self.seconds = {"portrait": time.perf_counter() - started, **dict.fromkeys(STAGES, 0.0)}
        self.size = framing.photo.shape[1], framing.photo.shape[0]
        self.fps = job.fps
        self._waited = 0.0  # seconds that drawing waited for motion

    def motion(self) -> Iterator[Motion]:
        """The motion of the video, in pieces."""
        yield from self._job.motion(self._session)

    def frames(
        self, on_progress: Progress | None = None, kept: list[Motion] | None = None
    ) -> Generator[Image, None, None]:
        """The video's pictures, in pieces of (n, H, W, 3) uint8 RGB; motion is made ahead of them in another thread.

        Args:
            on_progress: called after every piece.
            kept: where given, the motion is collected there.
        """
        report = on_progress or (lambda *_: None)
        batch_size = max(1, min(BATCH_SIZE, BATCH_BYTES // self.framing.photo.nbytes))
        drawn = 0
        with closing(self._pieces(report, kept)) as pieces:
            batches = self._session.render(pieces, batch_size, self._job.seed)
            while (frames := self._drawn(batches)) is not None:
                drawn += len(frames)
                if len(frames):
                    yield frames
                    report("drawing", drawn, self._job.expected)

    def save(
        self,
        path: str | PathLike[str],
        *,
        overwrite: bool = False,
        save_motion: str | PathLike[str] | None = None,
        on_progress: Progress | None = None,
    ) -> Path:
        """Make the video and write it, H.264 and the recording's own sound, to an .mp4 file.

        Motion, drawing and encoding run side by side. While at work the video has a temporary name in the same folder.

        Args:
            path: the file, ending in .mp4.
            overwrite: whether existing files are replaced.
            save_motion: also write the motion there, to a .safetensors file.
            on_progress: called with the frames done, stage by stage.

        Raises:
            OutputError: the video or the motion cannot be written there.
            AudioError: the speech is shorter than one frame.
            FaceNotFound: the driving video shows no face.
        """
        sink = FileSink(path, overwrite)
        if save_motion:
            check_writable(save_motion, MOTION_SUFFIX, overwrite)
        job, report = self._job, on_progress or (lambda *_: None)
        kept: list[Motion] | None = [] if save_motion else None
        encoded = 0
        with (
            closing(self.frames(on_progress, kept)) as pieces,
            ThreadPoolExecutor(1) as thread,
            VideoWriter(sink, job.fps, self.size, job.sound, job.tags) as writer,
        ):
            queue: deque[tuple[int, Future[None]]] = deque()
            more = True
            while more or queue:
                frames = next(pieces, None) if more else None
                more = frames is not None
                if frames is not None:
                    queue.append((len(frames), thread.submit(self._encode, writer, frames)))
                if not more or len(queue) > QUEUE_DEPTH:
                    count, done = queue.popleft()
                    done.result()
                    encoded += count
                    report("encoding", encoded, encoded if not queue and not more else job.expected)
        if save_motion and kept:
            Motion.concatenate(kept).save(save_motion)
        return Path(path)

    def _pieces(self, report: Progress, kept: list[Motion] | None) -> Generator[Motion, None, None]:
        """The motion, made ahead of drawing, and reported."""
        known = 0
        with closing(read_ahead(self._timed_motion(), MOTION_AHEAD)) as pieces:
            while True:
                started = time.perf_counter()
                piece = next(pieces, None)
                self._waited += time.perf_counter() - started
                if piece is None:
                    return
                known += len(piece)
                if kept is not None:
                    kept.append(piece)
                report("motion", known, self._job.expected)
                yield piece

    def _timed_motion(self) -> Generator[Motion, None, None]:
        pieces = self.motion()
        while (piece := self._timed("motion", partial(next, pieces, None))) is not None:
            yield piece

    def _drawn(self, batches: Iterator[Image]) -> Image | None:
        """The next batch; drawing waits for motion, which is not its time."""
        waited = self._waited
        frames: Image | None = self._timed("drawing", partial(next, batches, None))
        self.seconds["drawing"] -= self._waited - waited
        return frames

    def _encode(self, writer: VideoWriter, frames: Image) -> None:
        self._timed("encoding", partial(writer.write, frames))

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        try:
            return work()
        finally:
            self.seconds[stage] += time.perf_counter() - started
