"""Frames and speech into a video: pictures as H.264 beside their sound, into a ``Sink``."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from math import ceil
from threading import Lock
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

from kptalk.errors import Cancelled, OptionError, OutputError
from kptalk.files import explain
from kptalk.media.audio import Speech
from kptalk.media.sink import Sink
from kptalk.media.sound import SoundTrack, add_sound
from kptalk.media.watermark import Marker
from kptalk.media.watermark_code import Payload
from kptalk.types import Image

# Converted by us, since the encoder itself would use BT.601; starting more threads costs more than they bring.
AS_BT709: Any = {"format": "yuv420p", "dst_colorspace": Colorspace.ITU709, "threads": 1}

SMALL = 256  # pixels
# A video that is watched while it is made: no frame waits in the encoder, and a keyframe, which costs as much as three
# others, comes only every four seconds.
ZERO_LATENCY = {"tune": "zerolatency", "profile": "high"}
LOW_DELAY_GOP = 4  # seconds
LEVEL = "4.0"  # of H.264, wherever the frames fit: then the codec is always avc1.640028
LEVEL_SIZE, LEVEL_RATE = 8192, 245_760  # what it holds: macroblocks a frame and a second


def fits_level(size: tuple[int, int], fps: Fraction) -> bool:
    """Whether H.264 of ``LEVEL`` holds such frames."""
    macroblocks = -(-size[0] // 16) * -(-size[1] // 16)
    return macroblocks <= LEVEL_SIZE and macroblocks * fps <= LEVEL_RATE


class VideoWriter(AbstractContextManager["VideoWriter"]):
    """A context manager that encodes frames and the sound of a speech into a sink.

    Pictures are H.264 (BT.709 colours); the sound is the speech's own, cut to the length of the pictures, see
    ``add_sound``. After an exception other than ``Cancelled`` the sink keeps the video so far, provided that it holds a
    frame. Equal inputs give equal bytes. Memory does not grow with the length. Frames may be written from another
    thread than the one that leaves the context.
    """

    def __init__(
        self,
        sink: Sink,
        fps: Fraction,
        size: tuple[int, int],
        speech: Speech | None = None,
        metadata: Mapping[str, str] | None = None,
        watermark: Payload | None = None,
    ) -> None:
        """Check everything; the sink is opened at the first frame.

        Args:
            sink: where the video goes; it takes no other.
            fps: frames per second, exact.
            size: width and height of the frames in pixels; odd ones are filled up to even by repeating the edge.
            speech: the sound, or None for a silent video.
            metadata: texts for the file, for example ``title`` or ``comment``; any key but ``encoder``.
            watermark: what is hidden in the pictures, see ``kptalk.media.watermark``; None for nothing.

        Raises:
            OptionError: a frame rate or size that no video has.
        """
        if fps <= 0 or min(size) < 1:
            raise OptionError(f"no video has {fps} frames per second of {size[0]}x{size[1]} pixels")
        self._sink, self._fps, self._size = sink, Fraction(fps), size
        self._speech, self._metadata = speech, metadata or {}
        even = size[0] + size[0] % 2, size[1] + size[1] % 2
        self._mark = None if watermark is None else Marker(watermark, even)
        self._container: Any = None
        self._sound: SoundTrack | None = None
        self._frames = 0
        self._lock, self._closed = Lock(), False
        self._converter = VideoReformatter()

    def write(self, frames: Image) -> None:
        """Encode frames, and the sound that belongs to them.

        Args:
            frames: (B, H, W, 3) uint8 RGB.

        Raises:
            OutputError: the disk is full or fails; the message says where the video so far is.
            ValueError: frames of another size or type, or the context has been left.
        """
        width, height = self._size
        if frames.shape[1:] != (height, width, 3) or frames.dtype != np.uint8:
            raise ValueError(f"frames are {frames.dtype} {frames.shape}, expected uint8 (B, {height}, {width}, 3)")
        if height % 2 or width % 2:
            frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge")
        for picture in np.ascontiguousarray(frames):
            with self._lock, self._faults():
                if self._closed:
                    raise ValueError(f"{self._sink.name} is finished: no more frames can be written")
                if self._container is None:
                    self._open()
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                frame = self._converter.reformat(frame, **AS_BT709)
                if self._mark is not None:
                    self._mark(_luma(frame))
                frame.pts, frame.time_base = self._frames, 1 / self._fps
                self._container.mux(self._pictures.encode(frame))
                self._frames += 1
                if self._sound is not None:
                    self._sound.write(self._frames / self._fps)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            self._closed = True
            if self._container is None:
                if kind is None:
                    raise OutputError(f"no frames were written, so there is no {self._sink.name}")
                return
            try:
                with self._faults():
                    self._close()
                    if kind is None:
                        self._sink.finish(self._frames)
            except Exception:
                if kind is None:
                    raise  # otherwise the error that brought us here says more
            finally:
                if self._frames == 0 or (kind is not None and issubclass(kind, Cancelled)):
                    self._sink.discard()
                else:
                    self._sink.release()

    def _close(self) -> None:
        """Write what the encoders still hold, and the rest of the sound."""
        try:
            with self._container:
                if self._sound is not None:
                    self._sound.write(self._frames / self._fps, finish=True)
                self._container.mux(self._pictures.encode(None))
        finally:
            if self._sound is not None:
                self._sound.close()

    def _open(self) -> None:
        self._container = self._sink.open(self._metadata)
        options = {"preset": "veryfast", "crf": "18"}
        low_delay = self._sink.low_delay
        if low_delay:
            options |= ZERO_LATENCY | ({"level": LEVEL} if fits_level(self._size, self._fps) else {})
        if min(self._size) < SMALL:  # there x264's look at macroblocks ahead differs from run to run
            options["x264-params"] = "mbtree=0"
        self._pictures = self._container.add_stream("libx264", rate=self._fps, options=options)
        self._pictures.width, self._pictures.height = (side + side % 2 for side in self._size)
        self._pictures.pix_fmt = "yuv420p"
        context = self._pictures.codec_context
        context.time_base = 1 / self._fps
        context.gop_size = max(1, ceil(self._fps * (LOW_DELAY_GOP if low_delay else 1)))
        context.thread_count = 2  # fixed: x264's output depends on it, and equal inputs are to give equal files
        context.color_primaries = context.color_trc = context.colorspace = 1  # BT.709 in the H.264 standard
        context.color_range = 1  # limited
        if self._speech is not None:
            self._sound = add_sound(self._container, self._speech, copied=not low_delay)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (FFmpegError, OSError) as error:
            kept = f"; partial video kept in {self._sink.partial}" if self._frames and self._sink.partial else ""
            raise OutputError(f"cannot write {self._sink.name}: {explain(error)}{kept}") from error


def _luma(frame: Any) -> NDArray[np.uint8]:
    """A frame's luma, (H, W), to be changed in place."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]
