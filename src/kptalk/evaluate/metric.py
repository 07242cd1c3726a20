"""The interface of a metric, as in torchmetrics: ``update`` for every frame, ``compute`` for every clip, ``reset``.

A metric is opened once and holds what is expensive (networks). It sees the frames of a clip one by one, generated and
real side by side, and keeps no more of them than it must, so that memory does not grow with the length of the videos.
"""

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kptalk.errors import MissingExtra
from kptalk.files import sha256
from kptalk.types import Array, Image
from kptalk.weights.registry import official_path
from kptalk.weights.store import load_model

FPS = Fraction(25)  # every video is sampled at this rate, by nearest frame
RATE = 16_000  # Hz, of all audio
EVERY = 5  # frames: costly metrics look at the first frame of a clip and every fifth one after it


@dataclass(frozen=True)
class MetricSpec:
    """One column of a report; ``columns.csv`` is the table of all of them."""

    key: str  # short name without spaces, the column of the CSV file, for example ``lse_c``
    title: str  # what tables print, for example ``LSE-C``
    unit: str  # for example ``degrees``; empty where the number has none
    better: Literal["higher", "lower", "real"]  # real: the nearer to the real video's number the better
    about: str  # one sentence: what is measured, and where the definition comes from

    @property
    def label(self) -> str:
        """Title and unit: ``LSE-C``, ``Diversity (degrees)``."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def arrow(self) -> str:
        """Which way is better: ``↑``, ``↓`` or ``≈real``."""
        return {"higher": "↑", "lower": "↓", "real": "≈real"}[self.better]

    @property
    def heading(self) -> str:
        """Title, unit and which way is better: ``LSE-C ↑``, ``Diversity (degrees) ≈real``."""
        return f"{self.label} {self.arrow}"


with Path(__file__).with_name("columns.csv").open(encoding="utf-8", newline="") as _file:
    _SPECS = {row["key"]: MetricSpec(**row) for row in csv.DictReader(_file)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class FrameSample:
    """One frame of a video: ``image`` (H, W, 3) uint8 RGB, and the FaceMesh landmarks of its largest face.

    ``mesh`` is (478, 3) float32 in pixels of ``image``; None without a face.
    """

    image: Image
    mesh: Array | None

    @property
    def landmarks(self) -> Array:
        """``mesh``, or as many NaN."""
        return np.full((478, 3), np.nan, np.float32) if self.mesh is None else self.mesh

    @property
    def face_height(self) -> float:
        """From the top of the forehead to the chin in pixels; NaN without a face."""
        return float(np.linalg.norm(self.landmarks[10] - self.landmarks[152]))


@dataclass(frozen=True)
class AudioPair:
    """The audio of a clip, mono float32 at 16 kHz, from the first frame to the last compared, or as far as it goes.

    ``generated`` is the generated file's, or the real file's where the generated one has none; ``real`` the real one's.
    """

    generated: Array
    real: Array


class Metric(ABC):
    """One metric, or a family that shares its work.

    Constructors raise ``WeightsError`` or ``MissingExtra`` (with the command that mends it in the message) where the
    metric is not available, and the evaluation goes on without it.

    Attributes:
        columns: what is measured.
        requires: a module of the extra ``evaluate``, and what needs it; None where nothing is needed.
        weights: sha256 of every weights file that was loaded, by name; FaceMesh's is fixed by kptalk's version.
    """

    columns: tuple[MetricSpec, ...]
    requires: tuple[str, str] | None = None
    weights: Mapping[str, str] = {}

    def __init__(self) -> None:
        if self.requires:
            require_extra(*self.requires)
        self.reset()

    @abstractmethod
    def reset(self) -> None:
        """Forget the frames of the last clip."""

    @abstractmethod
    def update(self, generated: FrameSample, real: FrameSample) -> None:
        """Take the clip's next frame; frame k of either video belongs to the time k / 25 s."""

    @abstractmethod
    def compute(self, audio: AudioPair) -> dict[str, float]:
        """The clip's number for every column, NaN where it could not be measured; once a clip, after its last frame."""

    def compute_overall(self) -> dict[str, float]:
        """Numbers of all clips together that are no means over clips, such as FID, by column; forgets the clips."""
        return {}

    def give(self) -> Any:
        """What ``compute_overall`` needs of the clips since the last call, which forgets it; it pickles."""
        return None

    def take(self, part: Any) -> None:  # noqa: B027  # most have nothing to add
        """Add what this metric has given here or in another process, in the order of the clips."""

    def no_result(self) -> dict[str, float]:
        """NaN for every column."""
        return dict.fromkeys((column.key for column in self.columns), float("nan"))


class NetworkMetric(Metric):
    """A metric by a network.

    Args:
        path: of the weights; None: those that were pulled, or that come with kptalk.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """

    network: str  # its name in ``kptalk weights pull``
    classes: tuple[type[Any], type[Any]]  # of the network and its configuration
    find: Callable[[str], Path] = staticmethod(official_path)

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        path = path or self.find(self.network)
        self._network = self.load(path)
        self.weights = {self.network: sha256(path)}

    def load(self, path: Path) -> Any:
        """The network from its file."""
        return load_model(path, *self.classes)


def specs(*keys: str) -> tuple[MetricSpec, ...]:
    """The columns with these keys."""
    return tuple(_SPECS[key] for key in keys)


def mean_or_nan(values: Iterable[Any]) -> float:
    """Mean of any number of numbers; NaN of none."""
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else float("nan")


def require_extra(module: str, purpose: str) -> Any:
    """Import a module of the extra ``evaluate``; ``purpose`` begins the message where it is not installed.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = {"skimage": "scikit-image"}.get(name := module.split(".")[0], name)
        raise MissingExtra(f"{purpose} needs {package}: pip install 'kptalk[evaluate]'") from error
