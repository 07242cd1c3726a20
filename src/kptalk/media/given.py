"""What users give as speech, and what is made of it."""

import warnings
from collections.abc import Iterator
from fractions import Fraction
from os import PathLike
from typing import Any, BinaryIO

from numpy.typing import NDArray

from kptalk.errors import AudioError
from kptalk.media.audio import Speech
from kptalk.media.clip import probe
from kptalk.types import SAMPLE_RATE, Array

SpeechLike = str | PathLike[str] | bytes | BinaryIO | tuple[NDArray[Any], int] | Speech
"""A recording: the path of a sound or video file, its bytes, a file opened in binary mode, samples (N,) or (N, C) with
their rate in Hz, or a ``Speech``."""


def as_speech(speech: SpeechLike) -> Speech:
    """The speech of what was given.

    Raises:
        AudioError: it cannot be used.
    """
    if isinstance(speech, tuple):
        if len(speech) != 2:
            raise AudioError(f"the speech is a tuple of {len(speech)}: give (samples, rate)")
        return Speech.from_samples(*speech)
    return speech if isinstance(speech, Speech) else Speech.open(speech)


def speech_chunks(speech: Speech, fps: Fraction) -> Iterator[Array]:
    """Samples at 16 kHz; raises AudioError at the end of a speech that is shorter than one frame of the video."""
    samples = 0
    for chunk in speech.chunks():
        samples += len(chunk)
        yield chunk
    if samples * fps < SAMPLE_RATE:
        seconds = samples / SAMPLE_RATE
        raise AudioError(f"{speech.name} lasts {seconds:.3f} s, less than one frame at {float(fps):g} fps")


def sound_of_video(path: str | PathLike[str]) -> Speech | None:
    """The sound of a video; None where it has none. Warns if it has some that cannot be used.

    Raises:
        InputError: the video cannot be read.
    """
    if not probe(path).has_audio:
        return None
    try:
        return Speech.open(path)
    except AudioError as error:
        warnings.warn(f"{error}: the video will be silent", stacklevel=2)
        return None
