"""One video in the making: motion is drawn, put into the photo, and encoded, all as a stream."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from os import PathLike
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol, TypeVar

from kptalk.errors import OutputError
from kptalk.face.framing import Edge
from kptalk.media.audio import Speech
from kptalk.media.encoder import VideoWriter, check_output
from kptalk.types import Image, Motion, Portrait

MOTION_SUFFIX = ".safetensors"
DRAWN_AT_ONCE = 8  # frames, fewer of large ones; bounds memory
DRAWN_BYTES = 40_000_000  # in them, at most: 8 frames of 1280 x 1280
STAGES = ("motion", "drawing", "encoding")
WAITING = 4  # drawn pieces that may wait for the encoder
Progress = Callable[[str, int, int | None], None]  # stage, frames done, frames in all if known
T = TypeVar("T")


class Renderer(Protocol):
    """Draws motion of one space on a photo."""

    def prepare(self, portrait: Portrait, free: Collection[Edge] = ()) -> Any:
        """All that a photo's frames need; its ``source`` is the portrait's ``SourceMotion``."""

    def draw(self, state: Any, motion: Motion) -> Image:
        """Frames (T, H, W, 3) uint8 RGB."""


class Stage(Protocol):
    """What the video shows: ``photo`` (H, W, 3) uint8; of it ``portrait`` is drawn, whose edges ``free`` may move."""

    @property
    def photo(self) -> Image: ...

    @property
    def portrait(self) -> Portrait: ...

    @property
    def free(self) -> Collection[Edge]: ...

    def frames(self, drawn: Image) -> Image:
        """Video frames (T, H, W, 3) uint8 from what was drawn."""


@dataclass(frozen=True)
class Work:
    """What there is to draw.

    Attributes:
        motion: from the renderer's state of the photo to the motion, in pieces.
        fps: of the motion and the video.
        sound: of the video, or None.
        expected: how many frames there will be, as far as one can know.
        tags: what the file says of itself.
    """

    motion: Callable[[Any], Iterator[Motion]]
    fps: Fraction
    sound: Speech | None
    expected: int | None
    tags: dict[str, str]


class Animation:
    """One video of a portrait, made while it is read or saved."""

    def __init__(self, renderer: Renderer, stage: Stage, work: Work) -> None:
        self.stage, self._renderer, self._work = stage, renderer, work
        started = time.perf_counter()
        self._state = renderer.prepare(stage.portrait, stage.free)
        self.seconds = {"portrait": time.perf_counter() - started, **dict.fromkeys(STAGES, 0.0)}
        height, width = stage.photo.shape[:2]
        self.size = (width, height)
        self.fps = work.fps

    def motion(self) -> Iterator[Motion]:
        """The motion of the video, in pieces."""
        yield from self._work.motion(self._state)

    def frames(self, progress: Progress | None = None, kept: list[Motion] | None = None) -> Iterator[Image]:
        """The video's pictures, in pieces of (n, H, W, 3) uint8 RGB.

        Args:
            progress: told after every piece.
            kept: where given, the motion is collected there.
        """
        total = self._work.expected
        at_once = max(1, min(DRAWN_AT_ONCE, DRAWN_BYTES // self.stage.photo.nbytes))
        pieces, known, drawn = self.motion(), 0, 0
        while (piece := self._timed("motion", partial(next, pieces, None))) is not None:
            known += len(piece)
            if kept is not None:
                kept.append(piece)
            if progress:
                progress("motion", known, total)
            for first in range(0, len(piece), at_once):
                part = piece[first : first + at_once]
                yield self._timed("drawing", partial(self._draw, part))
                drawn += len(part)
                if progress:
                    progress("drawing", drawn, total)

    def save(
        self,
        path: str | PathLike[str],
        *,
        overwrite: bool = False,
        save_motion: str | PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> Path:
        """Make the video and write it, H.264 and the sound as AAC, to an .mp4 file.

        Drawing and encoding run side by side. While at work the video has a temporary name in the same folder.

        Args:
            path: the file, ending in .mp4.
            overwrite: whether existing files are replaced.
            save_motion: also write the motion there, to a .safetensors file.
            progress: told of the frames done, stage by stage.

        Raises:
            OutputError: the video or the motion cannot be written there.
            AudioError: the speech is shorter than one frame.
            FaceNotFound: the driving video shows no face.
        """
        check_output(path, overwrite)
        if save_motion:
            check_file_output(save_motion, MOTION_SUFFIX, overwrite)
        work, total = self._work, self._work.expected
        kept: list[Motion] | None = [] if save_motion else None
        encoded = 0
        with (
            ThreadPoolExecutor(1) as thread,
            VideoWriter(path, work.fps, self.size, work.sound, work.tags, overwrite) as writer,
        ):
            waiting: deque[tuple[int, Future[None]]] = deque()
            pieces = self.frames(progress, kept)
            more = True
            while more or waiting:
                frames = next(pieces, None) if more else None
                more = frames is not None
                if frames is not None:
                    waiting.append((len(frames), thread.submit(self._encode, writer, frames)))
                if not more or len(waiting) > WAITING:
                    count, done = waiting.popleft()
                    done.result()
                    encoded += count
                    if progress:
                        progress("encoding", encoded, encoded if not waiting and not more else total)
        if save_motion and kept:
            Motion.concatenate(kept).save(save_motion)
        return Path(path)

    def _draw(self, motion: Motion) -> Image:
        return self.stage.frames(self._renderer.draw(self._state, motion))

    def _encode(self, writer: VideoWriter, frames: Image) -> None:
        self._timed("encoding", partial(writer.write, frames))

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        try:
            return work()
        finally:
            self.seconds[stage] += time.perf_counter() - started


def check_file_output(path: str | PathLike[str], suffix: str, overwrite: bool = False) -> None:
    """Make sure that a motion or a plot can be written to ``path``, before any work is done.

    Raises:
        OutputError: another suffix, the folder is absent or cannot be written to, or the file exists already.
    """
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise OutputError(f"{path}: give a name that ends in {suffix}")
    if not path.parent.is_dir():
        raise OutputError(f"folder {path.parent} of {path.name} does not exist: create it")
    if path.is_dir() or (path.exists() and not overwrite):
        raise OutputError(f"{path} exists already: allow overwriting, or give another name")
    try:
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
