"""The values that travel between the stages: faces, portraits and motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kptalk.errors import MotionError, OutputError
from kptalk.files import write_bytes

Array = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]
Image = NDArray[np.uint8]

SAMPLE_RATE = 16_000  # Hz, of speech as the models take it
MODEL_FPS = Fraction(25)  # frames per second of the motion that the models make
N_KEYPOINTS = 21  # of the spaces facemesh and liveportrait
FIELDS = ("scale", "rotation", "translation", "expression")


@dataclass(frozen=True)
class Face:
    """One detected face, in pixels of the picture it was found in.

    ``landmarks`` is (478, 3) float32: FaceMesh with irises; x to the right, y down, z away from the camera
    (smaller is nearer), all three in pixels. ``presence`` is the network's probability that it saw a face, 0 to 1.
    ``box`` is (x0, y0, x1, y1) around the landmarks.
    """

    landmarks: Array
    presence: float = 1.0

    @property
    def box(self) -> tuple[float, float, float, float]:
        low, high = self.landmarks[:, :2].min(0), self.landmarks[:, :2].max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


@dataclass(frozen=True)
class Portrait:
    """A photo and the face in it that is to talk: ``image`` (H, W, 3) uint8 RGB, ``face`` in that image's pixels."""

    image: Image
    face: Face


@dataclass(frozen=True)
class Motion:
    """T frames of motion in one motion space; immutable.

    Attributes:
        scale: (T, 1) float32, 1 is the size in the portrait.
        rotation: (T, 3) float32, yaw, pitch, roll in degrees.
        translation: (T, 3) float32, in the units of the motion space.
        expression: (T, K, 3) float32, deformation of the K keypoints, in the units of the motion space.
        fps: frames per second, exact.
        space: id of the motion space, for example ``facemesh``.
    """

    scale: Array
    rotation: Array
    translation: Array
    expression: Array
    fps: Fraction
    space: str

    def __post_init__(self) -> None:
        keypoints = np.shape(self.expression)[1:2]  # () where the expression is no array of three dimensions
        expected = {"scale": (1,), "rotation": (3,), "translation": (3,), "expression": (*keypoints, 3)}
        for name, tail in expected.items():
            value = np.array(getattr(self, name), np.float32)  # a copy: nobody else may change it
            if value.shape != (len(self.scale), *tail) or value.size < len(value):
                raise MotionError(f"motion field {name} has shape {value.shape}, expected {(len(self.scale), *tail)}")
            value.flags.writeable = False
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.scale)

    def __getitem__(self, frames: slice) -> Motion:
        """Some of the frames, as Motion."""
        return self.with_fields(**{name: getattr(self, name)[frames] for name in FIELDS})

    def require_space(self, space: str) -> None:
        """Make sure that the motion belongs to a motion space.

        Raises:
            MotionError: it belongs to another one.
        """
        if self.space != space:
            raise MotionError(f"motion is of the space {self.space!r}, expected {space!r}")

    def repeat(self, length: int) -> Motion:
        """This one frame, ``length`` times."""
        return self.with_fields(**{name: np.repeat(getattr(self, name), length, 0) for name in FIELDS})

    def with_fields(self, **fields: Array) -> Motion:
        """A copy in which the named fields are replaced; all fields must agree on the number of frames."""
        kept = {name: getattr(self, name) for name in FIELDS}
        return Motion(**{**kept, **fields}, fps=self.fps, space=self.space)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the motion as safetensors; the file appears when it is complete.

        Raises:
            OutputError: the file cannot be written there.
        """
        header = {"kptalk": "motion", "fps": str(self.fps), "space": self.space}
        try:
            fields = {name: np.ascontiguousarray(getattr(self, name)) for name in FIELDS}
            content = save(fields, metadata=header)
        except SafetensorError as error:
            raise OutputError(f"cannot write motion file {path}: {error}") from error
        write_bytes(path, content)  # of two runs with one output, the later one's is there, whole

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Motion:
        """Read a motion that ``save`` wrote.

        Raises:
            MotionError: the file is absent, no safetensors, or no motion; or it has no frames, or NaN in them.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                header = file.metadata() or {}
                if header.get("kptalk") != "motion":
                    raise MotionError("this is not a motion file")
                fields = {name: file.get_tensor(name) for name in FIELDS}
            motion = cls(**fields, fps=Fraction(header["fps"]), space=header["space"])
        except (MotionError, OSError, SafetensorError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise MotionError(f"cannot read motion file {path}: {error}") from error
        if not len(motion) or motion.fps <= 0 or not all(np.isfinite(getattr(motion, name)).all() for name in FIELDS):
            raise MotionError(f"motion file {path} has no frames, no frame rate, or numbers that are not finite")
        return motion

    @staticmethod
    def concatenate(parts: Sequence[Motion]) -> Motion:
        """Join motions of the same space and frame rate, in order.

        Raises:
            MotionError: they differ in one of these.
        """
        if len({(part.fps, part.space) for part in parts}) != 1:
            raise MotionError("only motions of one space and one frame rate can be joined")
        return parts[0].with_fields(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in FIELDS})


@dataclass(frozen=True)
class SourceMotion:
    """What a motion space reads from a portrait: its canonical keypoints x_c (K, 3) and its own motion, one frame."""

    canonical: Array
    motion: Motion
