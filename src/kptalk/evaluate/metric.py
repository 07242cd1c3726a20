"""What every metric is made of: columns, a judge that holds the models, and one meter for each clip.

A judge is opened once and holds what is expensive (networks); for every clip it starts a meter, which is shown the
clip's frames one by one, generated and real side by side, and then asked for its numbers. Nothing holds frames longer
than it must, so an evaluation's memory does not grow with the length of the videos.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

FPS = Fraction(25)  # every video is shown to the meters at this rate, by nearest frame
RATE = 16_000  # Hz, of every sound


@dataclass(frozen=True)
class Column:
    """One number of a report.

    Attributes:
        key: short name without spaces, the column of the CSV file, for example ``lse_c``.
        title: what tables print, for example ``LSE-C``.
        unit: for example ``degrees``; empty where the number has none.
        better: ``higher``, ``lower``, or ``real``: the nearer to the real video's number the better.
        about: one sentence: what is measured, and where the definition comes from.
    """

    key: str
    title: str
    unit: str
    better: Literal["higher", "lower", "real"]
    about: str


@dataclass(frozen=True)
class Sight:
    """One frame of a video as the meters see it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        mesh: (478, 3) float32 FaceMesh landmarks of the largest face, in pixels of ``image``; None without a face.
    """

    image: Image
    mesh: NDArray[np.float32] | None


@dataclass(frozen=True)
class Heard:
    """The sounds of a clip, mono float32 at 16 kHz, from the first frame to the last compared, or as far as they go.

    Attributes:
        generated: of the generated file; the real file's where the generated one has none.
        real: of the real file.
    """

    generated: NDArray[np.float32]
    real: NDArray[np.float32]


class Meter(Protocol):
    """Collects what one metric needs of one clip."""

    def add(self, generated: Sight, real: Sight) -> None:
        """Look at the next frame; both videos' frame k belongs to the time k / 25 s."""

    def result(self, heard: Heard) -> Mapping[str, float]:
        """The clip's number for every column of the judge; NaN where it could not be measured. Called once, last."""


class Judge(Protocol):
    """One metric, or a family that shares its work.

    Constructors raise ``WeightsError`` or ``MissingExtra`` (with the one command that mends it in the message) where
    the metric cannot be had; the evaluation then goes on without it.
    """

    @property
    def columns(self) -> tuple[Column, ...]:
        """What it measures."""

    def start(self) -> Meter:
        """A meter for the next clip."""

    def summary(self) -> Mapping[str, float]:
        """Numbers of all clips together that are no means over clips, such as FID, by column; then forget the clips."""
        return {}

    def weights(self) -> Mapping[str, str]:
        """sha256 of every weights file that was loaded, by name; FaceMesh's is fixed by its package's version."""
        return {}
