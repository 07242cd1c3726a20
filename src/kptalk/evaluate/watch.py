"""A video and its sound as the meters get them: 25 frames a second with landmarks, 16 kHz mono."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kptalk.errors import AudioError
from kptalk.evaluate.meter import FPS, RATE, Sight
from kptalk.face.landmarks import FaceMesh
from kptalk.media.audio import Speech
from kptalk.media.clip import read_frames

_BLOCK = 1 << 20


def watch(path: Path, seconds: float | None) -> Iterator[Sight]:
    """A video's frames at 25 fps with the landmarks of its largest face, one after the other.

    Args:
        path: the video.
        seconds: where to stop; None for the whole video.

    Raises:
        InputError: the video cannot be read.
    """
    with FaceMesh(video=True) as mesh:
        for image in read_frames(path, FPS, end=seconds):
            found = mesh(image)
            yield Sight(image, found[0].landmarks if found else None)


def listen(path: Path, frames: int) -> NDArray[np.float32] | None:
    """The sound of a video for so many frames at 25 fps, mono float32 at 16 kHz; None where it has none.

    Sound that ends before the pictures do is followed by silence.
    """
    samples = round(frames * RATE / FPS)
    sound, filled = np.zeros(samples, np.float32), 0
    try:
        for chunk in Speech.open(path).chunks():
            taken = chunk[: samples - filled]
            sound[filled : filled + len(taken)] = taken
            filled += len(taken)
            if filled == samples:
                break
    except AudioError:
        return None
    return sound


def sha256(path: Path) -> str:
    """Of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
