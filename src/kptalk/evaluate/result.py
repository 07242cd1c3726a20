"""What an evaluation gives: plain values that the reports are written from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kptalk.evaluate.metric import MetricSpec

REAL = "real"  # name of the first row: the real videos, measured by the same metrics


@dataclass(frozen=True)
class Clip:
    """One entry of the clip list: file name of the real video, sha256 of the file, frames compared at 25 fps."""

    name: str
    sha256: str
    frames: int


@dataclass(frozen=True)
class Tracks:
    """Per-frame measurements for the plots, all of length T at 25 fps; NaN where no face was seen."""

    opening: NDArray[np.float32]  # (T,) inner-lip opening over the face's height
    rotation: NDArray[np.float32]  # (T, 3) yaw, pitch, roll in degrees
    heat: NDArray[np.float32]  # (64, 64) mean absolute change of the picture from frame to frame, 0 to 255
    stills: NDArray[np.uint8]  # (n, 128, 128, 3) RGB, frames at even distances


@dataclass(frozen=True)
class ClipResult:
    """One video measured."""

    clip: str  # the real video's file name
    sha256: str  # of the measured file
    values: Mapping[str, float]  # by column key; NaN where it could not be measured
    frames: int  # that were compared
    faceless: int  # frames of the measured video without a face
    notes: tuple[str, ...]  # one line each: what was unusual, for example that the video was shorter than the real one
    tracks: Tracks


@dataclass(frozen=True)
class MethodResult:
    """One row of the table: a method, or ``REAL``."""

    name: str
    clips: tuple[ClipResult, ...]  # in the order of the clip list; a clip that the method lacks is absent
    overall: Mapping[str, float]  # numbers that are not means over clips (FID), by column key
    missing: Mapping[str, str] = field(default_factory=dict)  # clips without a usable video, name to reason


@dataclass(frozen=True)
class Evaluation:
    """Everything a report shows."""

    columns: tuple[MetricSpec, ...]  # in the order of the table
    clips: tuple[Clip, ...]  # the frozen list
    methods: tuple[MethodResult, ...]  # the first is the real videos
    unavailable: Mapping[str, str]  # column key to why it is "—" and the one command that gets it
    command: str  # the command line that made it
    seed: int | None  # of the generated videos; None where they were given
    versions: Mapping[str, str]  # of kptalk, Python and the libraries that measure, by name
    weights: Mapping[str, str]  # sha256 of every weights file used, by name
