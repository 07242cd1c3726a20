"""Video files as a stream of RGB frames at a constant rate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from kptalk.errors import InputError
from kptalk.media.container import decode, open_stream

Image = NDArray[np.uint8]

# Rates that containers without one report by mistake, for example 90000, are far above this.
MAX_FPS = 1000
USUAL_FPS = Fraction(25)


@dataclass(frozen=True)
class Clip:
    """What a video file says of itself.

    Attributes:
        fps: frames a second, exact; the mean where frames come unevenly.
        size: width and height in pixels, as shown.
        duration: seconds, or None where the container does not say.
        has_audio: whether there is a sound stream.
    """

    fps: Fraction
    size: tuple[int, int]
    duration: Fraction | None
    has_audio: bool


def probe(path: str | PathLike[str]) -> Clip:
    """What a video file contains; its first frame is decoded as proof that it can be.

    Raises:
        InputError: the file is absent, unreadable, has no pictures, or none of them can be decoded.
    """
    path = Path(path)
    with open_stream(path, "video") as (container, stream):
        first = next(decode(container, stream), None)
        if first is None:
            raise InputError(f"{path} has a video stream, but no picture of it can be decoded")
        height, width = _upright(first).shape[:2]
        return Clip(_rate(stream), (width, height), _duration(container, stream), bool(container.streams.audio))


def read_frames(
    path: str | PathLike[str],
    fps: Fraction | None = None,
    start: Fraction | float = 0,
    end: Fraction | float | None = None,
) -> Iterator[Image]:
    """The frames of a video file at a constant rate: for each moment the frame that is nearest in time.

    Args:
        path: any file with pictures in it; phone videos are turned upright.
        fps: frames a second; None keeps the file's own.
        start: seconds from the file's first frame to the first frame wanted.
        end: seconds where to stop, or None for all.

    Yields:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: the file is absent, unreadable, has no pictures, or none of them can be decoded.
    """
    path = Path(path)
    with open_stream(path, "video") as (container, stream):
        own = _rate(stream)
        step = 1 / (fps or own)
        moment = Fraction(start)
        _seek(container, stream, moment)
        origin = None if stream.start_time is None else stream.start_time * stream.time_base
        before: tuple[Fraction, Any] | None = None
        shown: Image | None = None
        for frame in decode(container, stream):
            time = _time(frame, before, origin, own)
            if origin is None:
                origin, time = time, Fraction(0)
            if before is not None:
                middle = (before[0] + time) / 2
                while moment < middle:
                    if end is not None and moment >= end:
                        return
                    shown = _upright(before[1]) if shown is None else shown
                    yield shown
                    moment += step
            before, shown = (time, frame), None
        if before is None:
            raise InputError(f"{path} has a video stream, but no picture of it can be decoded")
        # The last frame lasts as long as one frame does; half a step of grace gives round(duration * fps) frames.
        last = before[0] + 1 / own
        while moment + step / 2 <= last and (end is None or moment < end):
            shown = _upright(before[1]) if shown is None else shown
            yield shown
            moment += step


def _time(frame: Any, before: tuple[Fraction, Any] | None, origin: Fraction | None, own: Fraction) -> Fraction:
    """Seconds of a frame from the start of the file; without a timestamp, one frame after the one before."""
    if frame.pts is None or frame.time_base is None:
        return Fraction(0) if before is None else before[0] + 1 / own
    return Fraction(frame.pts * frame.time_base - (origin or 0))


def _seek(container: Any, stream: Any, moment: Fraction) -> None:
    """Go to the keyframe before a moment; files that cannot be sought are decoded from their start."""
    if moment <= 0 or stream.time_base is None:
        return
    with suppress(FFmpegError, OSError, ValueError):
        container.seek(int(moment / stream.time_base) + (stream.start_time or 0), stream=stream)


def _rate(stream: Any) -> Fraction:
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate is not None and 0 < rate <= MAX_FPS:
            return Fraction(rate)
    return USUAL_FPS


def _duration(container: Any, stream: Any) -> Fraction | None:
    if stream.duration is not None and stream.time_base is not None:
        return Fraction(stream.duration * stream.time_base)
    return None if container.duration is None else Fraction(container.duration, av.time_base)


def _upright(frame: Any) -> Image:
    picture: Image = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture
