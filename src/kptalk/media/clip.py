"""Video files as a stream of RGB frames at a constant rate."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from itertools import chain
from math import inf
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from av.error import FFmpegError

from kptalk.errors import InputError
from kptalk.media.container import decode, duration, open_stream
from kptalk.types import MODEL_FPS, Image

VIDEO_SUFFIXES = frozenset({".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"})
Seconds = Fraction | float
IMPLAUSIBLE_FPS = 1000  # containers without a rate report by mistake one that is far above, for example 90000


@dataclass(frozen=True)
class Clip:
    """Properties of a video file.

    Attributes:
        fps: frames per second, exact; the mean where frames come unevenly.
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
    with _first_frame(Path(path)) as (container, stream, first, _):
        height, width = _upright(first).shape[:2]
        return Clip(_rate(stream), (width, height), duration(container, stream), bool(container.streams.audio))


def read_frames(
    path: str | PathLike[str], fps: Fraction | None = None, start: Seconds = 0, end: Seconds | None = None
) -> Iterator[Image]:
    """The frames of a video file at a constant rate: for each moment the frame that is nearest in time.

    Args:
        path: any file with pictures in it; phone videos are turned upright.
        fps: frames per second; None keeps the file's own.
        start: seconds from the file's first frame to the first frame wanted.
        end: seconds where to stop, or None for all.

    Yields:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: the file is absent, unreadable, has no pictures, or none of them can be decoded.
    """
    with _first_frame(Path(path)) as (container, stream, first, frames):
        own = _rate(stream)
        step = 1 / (fps or own)
        # Files may begin at any timestamp, and some containers misreport it: what counts is the first frame.
        origin = _time(first, Fraction(0))
        moment = origin + _exact(start)
        stop: Seconds = inf if end is None else origin + _exact(end)
        if moment > origin and _seek(container, stream, moment):
            frames = decode(container, stream)
        else:
            frames = chain([first], frames)
        before = time = origin - 1 / own
        shown: Callable[[], Image] | None = None
        for frame in frames:
            before, time = time, _time(frame, time + 1 / own)
            while shown is not None and moment < min(stop, (before + time) / 2):
                yield shown()
                moment += step
            if moment >= stop:
                return
            shown = cache(partial(_upright, frame))  # converted only if it is shown, and once
        # The last frame lasts as long as one frame does; half a step of grace gives round(duration * fps) frames.
        while shown is not None and moment + step / 2 <= time + 1 / own and moment < stop:
            yield shown()
            moment += step


@contextmanager
def _first_frame(path: Path) -> Iterator[tuple[Any, Any, Any, Iterator[Any]]]:
    """Container, stream, the first frame that can be decoded, and those after it."""
    with open_stream(path, "video") as (container, stream):
        frames = decode(container, stream)
        first = next(frames, None)
        if first is None:
            raise InputError(f"{path} has a video stream, but no picture of it can be decoded")
        yield container, stream, first, frames


def _exact(seconds: Seconds) -> Fraction:
    """Seconds as a rational; 0.2 is meant as 1/5, not as the float that is a bit above it."""
    return seconds if isinstance(seconds, Fraction) else Fraction(seconds).limit_denominator(1_000_000)


def _time(frame: Any, otherwise: Fraction) -> Fraction:
    """Timestamp of a frame in seconds, or another one where it has none."""
    return otherwise if frame.pts is None or frame.time_base is None else Fraction(frame.pts * frame.time_base)


def _seek(container: Any, stream: Any, moment: Fraction) -> bool:
    """Go to the keyframe before a moment; False where the file cannot be sought and goes on from where it was."""
    if stream.time_base is not None:
        with suppress(FFmpegError, OSError, ValueError):
            container.seek(int(moment / stream.time_base), stream=stream)
            return True
    return False


def _rate(stream: Any) -> Fraction:
    rates = (stream.average_rate, stream.guessed_rate)
    return next((Fraction(rate) for rate in rates if rate is not None and 0 < rate <= IMPLAUSIBLE_FPS), MODEL_FPS)


def _upright(frame: Any) -> Image:
    picture: Image = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture
