"""What an evaluation gives: plain values that the reports are written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kptalk.evaluate.metric import Column

REAL = "real"  # name of the first row: the real videos judged by the same meters


@dataclass(frozen=True)
class Clip:
    """One entry of the clip list: file name of the real video, sha256 of the file, frames compared at 25 fps."""

    name: str
    sha256: str
    frames: int


@dataclass(frozen=True)
class Tracks:
    """Per-frame measurements for the plots, all of length T at 25 fps; NaN where no face was seen.

    ``opening`` (T,) inner-lip opening over the face's height; ``rotation`` (T, 3) yaw, pitch, roll in degrees;
    ``heat`` (64, 64) float32 mean absolute change from frame to frame, 0 to 255, of the picture at that size;
    ``stills`` (n, 128, 128, 3) uint8 RGB, frames at even distances.
    """

    opening: NDArray[np.float32]
    rotation: NDArray[np.float32]
    heat: NDArray[np.float32]
    stills: NDArray[np.uint8]


@dataclass(frozen=True)
class ClipResult:
    """One video judged.

    Attributes:
        clip: the real video's file name.
        sha256: of the judged file.
        values: number by column key; NaN where it could not be measured.
        frames: how many were compared.
        faceless: frames of the judged video without a face.
        notes: one line each: what was unusual, for example that the video was shorter than the real one.
        tracks: for the plots.
    """

    clip: str
    sha256: str
    values: Mapping[str, float]
    frames: int
    faceless: int
    notes: tuple[str, ...]
    tracks: Tracks


@dataclass(frozen=True)
class MethodResult:
    """One row of the table: a method, or ``REAL``.

    Attributes:
        name: of the method: its folder's name.
        clips: in the order of the clip list; a clip that the method lacks is absent.
        summary: numbers that are not means over clips (FID), by column key.
        missing: clips of the list for which there is no usable video, name to reason.
    """

    name: str
    clips: tuple[ClipResult, ...]
    summary: Mapping[str, float]
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """Everything a report shows.

    Attributes:
        columns: in the order of the table.
        clips: the frozen list.
        methods: the first is the real videos.
        unavailable: column key to the line that says why it is "—" and the one command that gets it.
        command: the command line that made it.
        seed: of the generated videos; None where they were given.
        versions: of kptalk, Python and the libraries that measure, by name.
        weights: sha256 of every weights file used, by name.
    """

    columns: tuple[Column, ...]
    clips: tuple[Clip, ...]
    methods: tuple[MethodResult, ...]
    unavailable: Mapping[str, str]
    command: str
    seed: int | None
    versions: Mapping[str, str]
    weights: Mapping[str, str]
