"""Frames and speech into an MP4 that is playable at every moment while it grows, and plain at the end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from math import ceil
from os import PathLike, replace
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from kptalk.errors import OptionError, OutputError
from kptalk.media.audio import Speech
from kptalk.media.container import explain

SUFFIX = ".mp4"
# A fixed number of encoder threads: x264's output depends on it, and equal inputs are to give equal files.
THREADS = 2
PICTURE_OPTIONS = {"preset": "veryfast", "crf": "18"}
BT709 = 1  # the number of primaries, transfer and matrix alike in the H.264 standard
LIMITED_RANGE = 1
AAC_FRAME = 1024
# On speech FFmpeg's other coder is no closer to the original and takes twice the time; on plain tones it is worse.
SOUND_OPTIONS = {"aac_coder": "fast"}
# What iTunes-style tags hold, which all players show; with any other key FFmpeg's own key list is written instead.
COMMON_TAGS = frozenset({"title", "artist", "album", "comment", "description", "copyright", "date", "genre"})
# One fragment a keyframe; the header waits for the first fragment, since it holds the sound's and pictures' offsets.
GROWING = "frag_keyframe+delay_moov+default_base_moof"
FINISHED = "faststart"


def check_output(path: str | PathLike[str], overwrite: bool = False) -> None:
    """Make sure that a video can be written to ``path``, before any work is done.

    Raises:
        OutputError: not an .mp4, the folder is absent or cannot be written to, or the file exists already.
    """
    path = Path(path)
    if path.suffix.lower() != SUFFIX or not path.stem:
        raise OutputError(f"{path}: the result is an MP4 video, give a name that ends in {SUFFIX}")
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder: give the name of a file in it")
        if not path.parent.is_dir():
            seen = "is not a folder" if path.parent.exists() else "does not exist"
            raise OutputError(f"cannot write {path}: {path.parent} {seen}; create the folder, or write elsewhere")
        if (path.exists() or path.is_symlink()) and not overwrite:
            raise OutputError(f"{path} exists already: allow overwriting, or give another name")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is not a regular file: give another name")
        with suppress(FileNotFoundError):
            partial_path(path).stat()  # raises where a name cannot be, or the longer temporary one is too long
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path}: {explain(error)}") from error


def partial_path(path: str | PathLike[str]) -> Path:
    """Where ``VideoWriter`` keeps the video for ``path`` until it is finished."""
    path = Path(path)
    return path.with_name(f".{path.stem}.partial{SUFFIX}")


class VideoWriter:
    """A context manager that encodes frames and the sound of a speech into ``path``.

    While it is at work everything goes to ``partial`` in the same folder, a fragmented MP4 that plays up to about one
    second before the last frame even if the process is killed. Success turns that into a plain MP4 under the final
    name; after an exception ``partial`` stays, provided that it holds a frame. Pictures are H.264 (BT.709 colours);
    the sound is the speech's own, as AAC, cut or filled with silence to the length of the pictures. Equal inputs give
    equal bytes. Memory does not grow with the length. Frames may be written from another thread than the one that
    leaves the context.

    Attributes:
        partial: where the video is until it is finished.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        fps: Fraction,
        size: tuple[int, int],
        speech: Speech | None = None,
        metadata: dict[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Check everything; no file is made before the first frame.

        Args:
            path: the final name, which ends in .mp4.
            fps: frames a second, exact.
            size: width and height of the frames in pixels; odd ones are filled up to even by repeating the edge.
            speech: the sound, or None for a silent video.
            metadata: texts for the file, for example ``title`` or ``comment``; any key but ``encoder``.
            overwrite: whether an existing file is replaced.

        Raises:
            OutputError: see ``check_output``.
            OptionError: a frame rate or size that no video has.
        """
        check_output(path, overwrite)
        if fps <= 0 or min(size) < 1:
            raise OptionError(f"no video has {fps} frames a second of {size[0]}x{size[1]} pixels")
        self._path = Path(path)
        self.partial = partial_path(self._path)
        self._fps = Fraction(fps)
        self._size = size
        self._speech = speech
        self._metadata = metadata or {}
        self._overwrite = overwrite
        self._tags = "" if COMMON_TAGS.issuperset(self._metadata) else "+use_metadata_tags"
        self._container: Any = None
        self._pictures: Any = None
        self._sound: Any = None
        self._blocks: Iterator[NDArray[np.float32]] = iter(())
        self._frames = 0
        self._samples = 0
        self._lock = Lock()
        self._closed = False

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frames: NDArray[np.uint8]) -> None:
        """Encode frames, and the sound that belongs to them.

        Args:
            frames: (B, H, W, 3) uint8 RGB.

        Raises:
            OutputError: the disk is full or fails; the message names the temporary file.
            ValueError: frames of another size or type, or the context has been left.
        """
        width, height = self._size
        if frames.shape[1:] != (height, width, 3) or frames.dtype != np.uint8:
            raise ValueError(f"frames are {frames.dtype} {frames.shape}, expected uint8 (B, {height}, {width}, 3)")
        frames = np.ascontiguousarray(np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge"))
        for picture in frames:
            with self._lock, self._faults():
                if self._closed:
                    raise ValueError(f"the video for {self._path} is finished: no more frames can be written")
                if self._container is None:
                    self._open()
                # Converted here, since the encoder's own conversion would use BT.601.
                frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p", dst_colorspace="ITU709")
                frame.pts, frame.time_base = self._frames, 1 / self._fps
                self._container.mux(self._pictures.encode(frame))
                self._frames += 1
                self._mux_sound(finish=False)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        with self._lock:
            self._closed = True
            if self._container is None:
                if kind is None:
                    raise OutputError(f"no frames were written, so there is no {self._path}")
                return
            try:
                with self._faults():
                    self._close()
                    if kind is None:
                        self._publish()
            except Exception:
                if kind is None:
                    raise  # otherwise the error that brought us here says more
            finally:
                if self._frames == 0:
                    self.partial.unlink(missing_ok=True)

    def _open(self) -> None:
        self._container = _create(self.partial, GROWING + self._tags, self._metadata)
        pictures = self._container.add_stream("libx264", rate=self._fps, options=PICTURE_OPTIONS)
        pictures.width, pictures.height = (side + side % 2 for side in self._size)
        pictures.pix_fmt = "yuv420p"
        context = pictures.codec_context
        context.time_base = 1 / self._fps
        context.gop_size = max(1, ceil(self._fps))
        context.thread_count = THREADS
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = LIMITED_RANGE
        self._pictures = pictures
        if self._speech is not None:
            rate, layout = self._speech.rate, self._speech.layout
            self._sound = self._container.add_stream("aac", rate=rate, layout=layout, options=SOUND_OPTIONS)
            self._sound.bit_rate = self._speech.channels * min(96_000, 4 * rate)
            self._blocks = self._speech.sound(AAC_FRAME)

    def _mux_sound(self, finish: bool) -> None:
        """Encode the sound up to the end of the pictures so far: whole AAC frames, or all of it to finish."""
        if self._speech is None:
            return
        until = round(self._frames * self._speech.rate / self._fps)
        while self._samples + (1 if finish else AAC_FRAME) <= until:
            length = min(AAC_FRAME, until - self._samples)
            block = next(self._blocks, np.zeros((self._speech.channels, 0), np.float32))[:, :length]
            block = np.ascontiguousarray(np.pad(block, ((0, 0), (0, length - block.shape[1]))))
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=self._speech.layout)
            frame.sample_rate, frame.pts = self._speech.rate, self._samples
            frame.time_base = Fraction(1, self._speech.rate)
            self._container.mux(self._sound.encode(frame))
            self._samples += length

    def _close(self) -> None:
        try:
            self._mux_sound(finish=True)
            for stream in filter(None, (self._pictures, self._sound)):
                self._container.mux(stream.encode(None))
        finally:
            self._blocks = iter(())  # closes the speech's file
            self._container.close()

    def _publish(self) -> None:
        """Copy the fragments into a plain MP4, which all players can seek in, and give it the final name."""
        if not self._overwrite and self._path.exists():
            raise OutputError(f"{self._path} has appeared meanwhile; the new video is in {self.partial}")
        plain = self.partial.with_suffix(".plain" + SUFFIX)
        try:
            _copy(self.partial, _create(plain, FINISHED + self._tags, self._metadata))
            replace(plain, self._path)
        finally:
            plain.unlink(missing_ok=True)
        self.partial.unlink()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (FFmpegError, OSError) as error:
            kept = f"; the video so far is in {self.partial}" if self._frames else ""
            raise OutputError(f"cannot write {self._path}: {explain(error)}{kept}") from error


def _create(path: Path, flags: str, metadata: dict[str, str]) -> Any:
    # Without "bitexact" the file would name the FFmpeg build; packets are flushed so that a killed run leaves them.
    options = {"movflags": flags, "fflags": "+bitexact", "flush_packets": "1"}
    container = av.open(f"file:{path}", "w", format="mp4", options=options)
    container.metadata.update(metadata)
    return container


def _copy(source: Path, target: Any) -> None:
    """Move the packets of a file into an open container, and close that."""
    with target, av.open(f"file:{source}") as container:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in container.streams}
        for packet in container.demux():
            if packet.dts is not None:  # the empty packets at the end have none
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
