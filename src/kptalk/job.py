"""One video in the making: motion is drawn, put into the photo, and encoded, all as a stream."""

import io
import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from os import PathLike
from pathlib import Path
from threading import Event
from typing import NoReturn, TypeVar, overload

from kptalk.ahead import read_ahead
from kptalk.errors import Cancelled
from kptalk.face.framing import Framing
from kptalk.files import MOTION_SUFFIX, check_writable, claimed
from kptalk.media import html
from kptalk.media.audio import Speech
from kptalk.media.encoder import VideoWriter
from kptalk.media.sink import BytesWriter, Sink
from kptalk.media.stream import sink_for
from kptalk.media.watermark_code import Payload
from kptalk.methods.base import Method, Session
from kptalk.options import Options, ReenactOptions
from kptalk.types import Image, Motion

BATCH_SIZE = 8  # frames drawn together, fewer of large ones; bounds memory
BATCH_BYTES = 40_000_000  # in them, at most: 8 frames of 1280 x 1280
QUEUE_DEPTH = 4  # drawn batches that may wait for the encoder
MOTION_AHEAD = 3  # pieces of motion, mostly of a second or two, that may wait to be drawn
STAGES = ("motion", "drawing", "encoding")
SHOWN_SECONDS = 10  # of video that a notebook draws unasked
SHOWN_PATIENCE = 60.0  # seconds that it may take
Progress = Callable[[str, int, int | None], None]  # stage, frames done, frames in all if known
T = TypeVar("T")
logger = logging.getLogger(__name__)
logging.getLogger("kptalk").addHandler(logging.NullHandler())  # nothing is printed unless the program asks for it


@dataclass(frozen=True)
class RenderJob:
    """What there is to draw.

    Attributes:
        motion: from the prepared portrait to its motion, in pieces.
        fps: of the motion and the video.
        sound: of the video, or None.
        expected: how many frames there will be, as far as one can know.
        tags: what the file says of itself.
        options: of the video; those that a renderer draws by are looked at here.
        seed: of a renderer that draws at random.
        watermark: gives what is hidden in the video that is saved, or None.
    """

    motion: Callable[[Session], Iterator[Motion]]
    fps: Fraction
    sound: Speech | None
    expected: int | None
    tags: dict[str, str]
    options: Options | ReenactOptions
    seed: int = 0
    watermark: Callable[[], Payload] | None = None


class Animation:
    """One video of a portrait, made while it is read or saved; nothing is drawn before.

    It can be iterated (single frames, (H, W, 3) uint8 RGB), read in pieces (``frames``, ``motion``) and saved, as often
    as one likes. The watermark is in what is saved, not in frames that are read. Every reading makes the video anew
    from its start, with the same result. A notebook shows it as a player. It holds a loaded model, so it can be neither
    copied nor pickled.

    Attributes:
        size: width and height of the frames in pixels.
        fps: frames per second, exact.
        sound: the sound that a saved video has, or None.
        expected: how many frames there will be, as the recording promises, or None; only reading tells for certain.
        framing: what the video shows of the photo.
        seconds: that each stage took so far, of all readings.
    """

    def __init__(self, method: Method, framing: Framing, job: RenderJob) -> None:
        self.framing, self._job = framing, job
        started = time.perf_counter()
        self._session = method.session(framing, job.options)
        self.seconds = {"portrait": time.perf_counter() - started, **dict.fromkeys(STAGES, 0.0)}
        self.size = framing.photo.shape[1], framing.photo.shape[0]
        self.fps, self.sound, self.expected = job.fps, job.sound, job.expected
        self._waited = 0.0  # seconds that drawing waited for motion
        self._cancelled = Event()
        self._saved: Path | None = None
        self._shown: str | None = None
        logger.info("portrait prepared in %.2f s: %r", self.seconds["portrait"], self)

    def __iter__(self) -> Iterator[Image]:
        """Single frames, (H, W, 3) uint8 RGB, each as soon as it is drawn."""
        with closing(self.frames()) as pieces:
            for frames in pieces:
                yield from frames

    def __repr__(self) -> str:
        length = "" if self.expected is None else f", {self.expected} frames, {float(self.expected / self.fps):.2f} s"
        state = ", cancelled" if self._cancelled.is_set() else f", saved as {self._saved}" if self._saved else ""
        sound = "with sound" if self.sound else "silent"
        return f"<Animation {self.size[0]}x{self.size[1]}, {float(self.fps):.5g} fps{length}, {sound}{state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Animation cannot be copied or pickled: keep its Pipeline and options, or save the video")

    def cancel(self) -> None:
        """End all work on this video: readings and ``save`` raise ``Cancelled`` after the few frames at hand.

        May be called from any thread, at any time and more than once; readings that begin later raise it too. What is
        finished stays.
        """
        self._cancelled.set()

    def motion(self) -> Iterator[Motion]:
        """The motion of the video, in pieces."""
        pieces = self._job.motion(self._session)
        while (piece := self._unless_cancelled(partial(next, pieces, None))) is not None:
            yield piece

    def frames(
        self, on_progress: Progress | None = None, kept: list[Motion] | None = None
    ) -> Generator[Image, None, None]:
        """The video's pictures, in pieces of (n, H, W, 3) uint8 RGB; motion is made ahead of them in another thread.

        Args:
            on_progress: called after every piece.
            kept: where given, the motion is collected there.

        Raises:
            Cancelled: ``cancel`` was called.
            AudioError: the speech is shorter than one frame.
            FaceNotFound: the driving video shows no face.
        """
        report = on_progress or (lambda *_: None)
        batch_size = max(1, min(BATCH_SIZE, BATCH_BYTES // self.framing.photo.nbytes))
        drawn, started = 0, time.perf_counter()
        with closing(self._pieces(report, kept)) as pieces:
            batches = self._session.render(_first_alone(pieces), batch_size, self._job.seed)
            while (frames := self._unless_cancelled(partial(self._drawn, batches))) is not None:
                drawn += len(frames)
                if len(frames):
                    yield frames
                    report("drawing", drawn, self._job.expected)
        seconds = time.perf_counter() - started
        logger.info("%d frames in %.2f s, %.1f frames/s", drawn, seconds, drawn / seconds)

    @overload
    def save(
        self,
        target: str | PathLike[str],
        *,
        overwrite: bool = False,
        save_motion: str | PathLike[str] | None = None,
        on_progress: Progress | None = None,
        sign: Callable[[Path], None] | None = None,
    ) -> Path: ...

    @overload
    def save(
        self,
        target: BytesWriter,
        *,
        overwrite: bool = False,
        save_motion: str | PathLike[str] | None = None,
        on_progress: Progress | None = None,
    ) -> None: ...

    def save(
        self,
        target: str | PathLike[str] | BytesWriter,
        *,
        overwrite: bool = False,
        save_motion: str | PathLike[str] | None = None,
        on_progress: Progress | None = None,
        sign: Callable[[Path], None] | None = None,
    ) -> Path | None:
        """Make the video and write it, H.264 and the recording's own sound, to an .mp4 file or into an open file.

        Motion, drawing and encoding run side by side. While at work a file has a temporary name in the same folder,
        under which it stays after an error, and is gone after ``cancel``. An open file gets a fragmented MP4 while it
        is encoded, which browsers play at once; it need not be able to seek, is left open, and keeps what it got.

        Args:
            target: a path ending in .mp4, or what takes bytes by ``write``: a file opened in binary mode, a pipe, a
                ``BytesIO``, an object of your own.
            overwrite: whether existing files are replaced.
            save_motion: also write the motion there, to a .safetensors file.
            on_progress: called with the stage, the frames done, and the frames in all, or None where unknown.
            sign: signs the finished file, in place, before it appears under its name; see ``kptalk.provenance``.

        Returns:
            The path; None for an open file.

        Raises:
            OutputError: the video or the motion cannot be written there.
            AudioError: the speech is shorter than one frame.
            FaceNotFound: the driving video shows no face.
            Cancelled: ``cancel`` was called.
        """
        path, sink = sink_for(target, overwrite, sign)
        if save_motion:
            check_writable(save_motion, MOTION_SUFFIX, overwrite)
        kept: list[Motion] | None = [] if save_motion else None
        with claimed(save_motion) if save_motion else nullcontext():
            deque(self.encode(sink, on_progress, kept), maxlen=0)
            if save_motion and kept:
                Motion.concatenate(kept).save(save_motion)
        self._saved = path or self._saved
        return path

    def encode(
        self, sink: Sink, on_progress: Progress | None = None, kept: list[Motion] | None = None
    ) -> Generator[int, None, None]:
        """``save`` in steps, for programs that take turns between videos: gives the frames encoded so far.

        At the end the sink is finished; closing it before leaves the sink with what it got, as an error does. Raises
        what ``save`` raises.

        Args:
            sink: where the video goes.
            on_progress, kept: as in ``frames``.
        """
        job, encoded, report = self._job, 0, on_progress or (lambda *_: None)
        mark = job.watermark() if job.watermark else None
        with (
            closing(self.frames(report, kept)) as pieces,
            ThreadPoolExecutor(1) as thread,
            VideoWriter(sink, job.fps, self.size, job.sound, job.tags, mark) as writer,
        ):
            queue: deque[tuple[int, Future[None]]] = deque()
            more = True
            while more or queue:
                frames = next(pieces, None) if more else None
                more = frames is not None
                if frames is not None:
                    queue.append((len(frames), thread.submit(self._encode, writer, frames)))
                while queue and (not more or len(queue) > QUEUE_DEPTH or queue[0][1].done()):
                    count, done = queue.popleft()
                    self._unless_cancelled(done.result)
                    encoded += count
                    report("encoding", encoded, encoded if not queue and not more else job.expected)
                yield encoded
        spent = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in self.seconds.items())
        logger.info("%s: %d frames written (%s)", sink.name, encoded, spent)

    def _repr_html_(self) -> str:
        """What a notebook shows: the saved video, or one of at most 10 seconds, drawn now in at most a minute.

        Of any other it shows the line of ``repr`` and how to save it.
        """
        if self._saved is not None and self._saved.is_file():
            return html.saved_video(self._saved, self.size, repr(self))
        short = self.expected is not None and self.expected <= SHOWN_SECONDS * self.fps
        if self._shown is None and short and not self._cancelled.is_set():
            self._shown = self._drawn_for_show()
        return self._shown or html.message(f"{self!r}: not drawn yet, animation.save('talk.mp4') does it")

    def _drawn_for_show(self) -> str | None:
        """A player with the whole video; None if that takes too long."""
        video, until = io.BytesIO(), time.monotonic() + SHOWN_PATIENCE

        def in_time(*_: object) -> None:
            if time.monotonic() > until:
                raise TimeoutError

        try:
            self.save(video, on_progress=in_time)
        except TimeoutError:
            return None
        return html.embedded_video(video.getvalue(), self.size, repr(self))

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
                logger.debug("motion of %d frames", known)
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

    def _unless_cancelled(self, work: Callable[[], T]) -> T:
        """Its result; raises Cancelled where ``cancel`` was called before or meanwhile."""
        self._stop_if_cancelled()
        result = work()
        self._stop_if_cancelled()
        return result

    def _stop_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("the animation was cancelled")

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        try:
            return work()
        finally:
            self.seconds[stage] += time.perf_counter() - started


def _first_alone(pieces: Iterator[Motion]) -> Iterator[Motion]:
    """The same motion, its first frame in a piece of its own, so that this is drawn before anything else."""
    for piece in pieces:
        if len(piece):
            yield piece[:1]
            yield piece[1:]
            break
    yield from pieces
