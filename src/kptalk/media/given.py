"""What users give as speech, and what is made of it."""

import os
import warnings
from collections.abc import Iterator, Mapping
from fractions import Fraction
from os import PathLike
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kptalk.errors import AudioError, InputError
from kptalk.files import explain
from kptalk.media.audio import Speech
from kptalk.media.clip import probe
from kptalk.media.watermark_code import Payload
from kptalk.types import SAMPLE_RATE, Array, Image

HEAD = 1 << 20  # bytes
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


def payload_of(
    tags: Mapping[str, str], photo: Image, source: str | PathLike[str] | Speech | NDArray[Any] | None
) -> Payload:
    """What the watermark of a video says: the same seed, model, photo and recording give the same, and the same bytes.

    Of a recording or driver its length and first MB count, or its first second where it is no file.

    Raises:
        InputError: the recording or driver cannot be read.
    """
    return Payload.of(tags["description"], photo, _head(source))


def _head(source: str | PathLike[str] | bytes | Speech | NDArray[Any] | None) -> bytes:
    if source is None:
        return b""
    if isinstance(source, Speech):
        return _head(source.recording or next(source.chunks(), np.zeros(0, np.float32)))
    if isinstance(source, np.ndarray):
        return source.tobytes()
    if isinstance(source, bytes):
        return len(source).to_bytes(8, "big") + source[:HEAD]
    try:
        with open(source, "rb") as file:
            return os.fstat(file.fileno()).st_size.to_bytes(8, "big") + file.read(HEAD)
    except OSError as error:
        raise InputError(f"cannot read {source}: {explain(error)}") from error


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
