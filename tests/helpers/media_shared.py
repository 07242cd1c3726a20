"""Real media: the clips of this repository, and what is kept outside it; faces in them are found once a test run."""

import os
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from kptalk.face.find import find_portrait
from kptalk.face.landmarks import FaceMesh
from kptalk.media.clip import read_frames
from kptalk.media.image import read_image
from kptalk.types import Image, Portrait

TESTS = Path(__file__).resolve().parents[1]
CLIPS = TESTS / "data" / "clips"
PARITY = TESTS / "data" / "parity"
# Portraits, speech and clips of many more people, and the reference's own fixtures; not free to pass on.
SHARED = Path(os.environ.get("KPTALK_SHARED", TESTS.parents[1] / "shared"))


def shared_folder(name: str) -> Path:
    """A folder of the media outside the repository, or a skip."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here: this test needs media that are not free to pass on")
    return folder


def clip_path(name: str) -> Path:
    """A clip by its name: one of the repository, otherwise one of the validation clips outside it, or a skip."""
    own = CLIPS / f"{name}.mp4"
    return own if own.exists() else shared_folder("data") / "clips" / "val" / own.name


@cache
def clip_landmarks(path: Path, seconds: float) -> np.ndarray:
    """(T, 478, 3) of the first seconds at 25 fps."""
    with FaceMesh(video=True) as mesh:
        return np.stack([mesh(frame).landmarks for frame in read_frames(path, Fraction(25), end=seconds)])


@cache
def picture(name: str) -> Image:
    """A photo by its name: the astronaut, frame 30 of a clip as ``clip@30``, or a portrait outside the repository."""
    if name == "astronaut":
        return data.astronaut()
    clip, _, frame = name.partition("@")
    if frame:
        return list(read_frames(clip_path(clip), Fraction(25), end=Fraction(int(frame) + 1, 25)))[int(frame)]
    return read_image(shared_folder("data") / "portraits" / f"{name}.jpg")


@cache
def portrait_of(name: str) -> Portrait:
    """The largest face of such a photo."""
    return find_portrait(picture(name))
