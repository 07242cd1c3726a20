"""One job of the worker: its files in, a growing video and its facts out, a few frames at every step."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage

from kptalk.errors import AudioError
from kptalk.face.find import find_faces, find_portrait
from kptalk.face.portraits import Portraits
from kptalk.files import atomic_write
from kptalk.media.audio import Speech
from kptalk.media.clip import read_frames
from kptalk.media.image import read_image
from kptalk.media.sink import copy_plain
from kptalk.media.stream import StreamSink
from kptalk.options import Options
from kptalk.pipeline import Pipeline
from kptalk.serve.making import Start
from kptalk.serve.settings import PORTRAIT, SPEECH, STREAM, THUMBNAIL, VIDEO, Settings
from kptalk.serve.signing import sign
from kptalk.serve.store import Job, PortraitRequest
from kptalk.types import SAMPLE_RATE

THUMBNAIL_SIDE = 320  # pixels


def find(request: PortraitRequest, path: Path, portraits: Portraits) -> dict[str, Any]:
    """What /v1/portraits answers.

    Raises:
        ImageError, FaceError, OptionError: the photo cannot be used.
    """
    image = read_image(path.read_bytes())
    found = find_faces(image)
    height, width = found.image.shape[:2]
    faces = [[round(float(value), 1) for value in each.face.box] for each in found.faces]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        chosen = find_portrait(image, request.face, request.rotate)
    portraits.keep((request.digest, request.face, request.rotate), chosen)
    box = [round(float(value), 1) for value in chosen.face.box]
    number = 1 + min(range(len(faces)), key=lambda k: sum(abs(a - b) for a, b in zip(faces[k], box, strict=True)))
    return {
        "width": width,
        "height": height,
        "turned": found.turned,
        "face": number,
        "faces": [{"number": k, "box": box} for k, box in enumerate(faces, 1)],
        "warnings": [str(each.message) for each in said if issubclass(each.category, UserWarning)],
    }


def render(
    job: Job, folder: Path, pipeline: Pipeline, portraits: Portraits, settings: Settings
) -> Generator[Start | int, None, None]:
    """Make a job's video; gives its ``Start``, then after every few frames how many are encoded.

    ``STREAM`` in the job's folder grows meanwhile; at the end there are ``VIDEO`` and ``THUMBNAIL``.

    Raises:
        ImageError, FaceError, AudioError, OptionError: what the client sent cannot be used.
        OutputError: the disk is full or fails.
    """
    options = Options.from_dict(job.options)
    portrait = portraits.find(folder / PORTRAIT, job.portrait, job.face, options.rotate)
    speech = Speech.open(folder / SPEECH)
    seconds = _seconds(speech, settings.speech_seconds)
    animation = pipeline.animate(portrait, speech, options=options)
    yield Start(animation.size, animation.fps, max(1, round(seconds * animation.fps)))
    with (folder / STREAM).open("wb", buffering=0) as file, closing(animation.encode(StreamSink(file, True))) as steps:
        for frames in steps:
            if frames > (settings.speech_seconds + 1) * animation.fps:
                raise _too_long(settings.speech_seconds)
            yield frames
    with atomic_write(folder / VIDEO) as plain, (folder / STREAM).open("rb") as made:
        copy_plain(made, plain)
        sign(job, folder, plain, settings)
    with atomic_write(folder / THUMBNAIL) as path:
        image = PillowImage.fromarray(next(read_frames(folder / VIDEO)))
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        image.save(path)


def _seconds(speech: Speech, limit: float) -> Fraction:
    """How long a recording is; decoded and counted, unless it says so itself and that is no more than the limit."""
    if speech.duration_hint is not None and 0 < speech.duration_hint <= limit:
        return speech.duration_hint
    samples = 0
    for chunk in speech.chunks():
        samples += len(chunk)
        if samples > limit * SAMPLE_RATE:
            raise _too_long(limit)
    return Fraction(samples, SAMPLE_RATE)


def _too_long(limit: float) -> AudioError:
    return AudioError(f"the recording is longer than {limit:g} s")
