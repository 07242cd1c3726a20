"""The values that travel between the stages: faces, portraits and motion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kptalk.errors import MotionError, OutputError
from kptalk.files import explain, with_sorted_header, write_bytes
from kptalk.limits import MAX_DENOMINATOR, MAX_FPS, MIN_FPS

Array = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]
Image = NDArray[np.uint8]

SAMPLE_RATE = 16_000  # Hz, of speech as the models take it
MODEL_FPS = Fraction(25)  # frames per second of the motion that the models make
N_KEYPOINTS = 21  # of the spaces facemesh and liveportrait
FIELDS = ("scale", "rotation", "translation", "expression")
# What a motion that comes from outside may hold, in every space: some ten times what faces in videos do.
BOUNDS = {
    "scale": (0.05, 20.0),
    "rotation": (-360.0, 360.0),
    "translation": (-100.0, 100.0),
    "expression": (-10.0, 10.0),
}
LARGEST_HALF = 65504.0  # of float16
LARGEST = 1e6  # of any motion's numbers, also where options have amplified it: none of what follows overflows


@dataclass(frozen=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        x0, y0, x1, y1 = self.box
        return f"<Face {x1 - x0:.0f}x{y1 - y0:.0f} at ({x0:.0f}, {y0:.0f})>"


@dataclass(frozen=True, eq=False, repr=False)
class Portrait:
    """A photo and the face in it that is to talk: ``image`` (H, W, 3) uint8 RGB, ``face`` in that image's pixels."""

    image: Image
    face: Face

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"<Portrait {width}x{height}, {repr(self.face)[1:-1].lower()}>"


@dataclass(frozen=True, eq=False, repr=False)
class Motion:
    """T frames of motion in one motion space; immutable.

    Attributes:
        scale: (T, 1) float32, 1 is the size in the portrait.
        rotation: (T, 3) float32, yaw, pitch, roll in degrees.
        translation: (T, 3) float32, in the units of the motion space.
        expression: (T, K, 3) float32, deformation of the K keypoints, in the units of the motion space.
        fps: frames per second, 1 to 120, as the nearest fraction that files can hold.
        space: id of the motion space, for example ``facemesh``.
        style: numbers of how the person moves, where the motion was generated in a style.

    Raises:
        MotionError: the fields do not fit each other, or hold anything but finite numbers up to a million.
    """

    scale: Array
    rotation: Array
    translation: Array
    expression: Array
    fps: Fraction
    space: str
    style: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        keypoints = np.shape(self.expression)[1:2]  # () where the expression is no array of three dimensions
        expected = {"scale": (1,), "rotation": (3,), "translation": (3,), "expression": (*keypoints, 3)}
        for name, tail in expected.items():
            value = _numbers(name, getattr(self, name))
            length = np.shape(self.scale)[:1]
            if value.shape != (*length, *tail) or value.size < len(value):
                raise MotionError(f"motion field {name} has shape {value.shape}, expected {(*length, *tail)}")
            _check_range(name, value, -LARGEST, LARGEST)
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        try:
            fps = Fraction(self.fps).limit_denominator(MAX_DENOMINATOR)
        except (TypeError, ValueError, OverflowError) as error:
            raise MotionError(f"a motion's frame rate is {self.fps!r}, expected a number") from error
        if not MIN_FPS <= fps <= MAX_FPS:
            raise MotionError(f"a motion has {str(self.fps)[:20]} frames per second, expected {MIN_FPS} to {MAX_FPS}")
        object.__setattr__(self, "fps", fps)

    def __len__(self) -> int:
        return len(self.scale)

    def __repr__(self) -> str:
        seconds = len(self) / self.fps
        return (
            f"<Motion of space {self.space!r}: {len(self)} frames, {float(self.fps):.5g} fps, {float(seconds):.2f} s>"
        )

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are the same."""
        if not isinstance(other, Motion):
            return NotImplemented
        same = (self.fps, self.space) == (other.fps, other.space)
        return same and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in FIELDS)

    __hash__ = None  # type: ignore[assignment]  # as of all that is compared by arrays

    def __getitem__(self, frames: slice) -> Motion:
        """Some of the frames, as Motion."""
        return self.with_fields(**{name: getattr(self, name)[frames] for name in FIELDS})

    def require_space(self, space: str, keypoints: int = N_KEYPOINTS) -> None:
        """Make sure that the motion belongs to a motion space.

        Raises:
            MotionError: it belongs to another one, or has another number of keypoints.
        """
        if self.space != space:
            raise MotionError(f"motion is of the space {self.space!r}, expected {space!r}")
        if self.expression.shape[1] != keypoints:
            raise MotionError(f"motion has {self.expression.shape[1]} keypoints, expected {keypoints}")

    def require_bounds(self) -> None:
        """Make sure that there are frames, and that a face may move like that; for motion that comes from outside.

        Raises:
            MotionError: there are none, or a number lies outside its field's ``BOUNDS``.
        """
        if not len(self):
            raise MotionError("motion has no frames")
        for name, bounds in BOUNDS.items():
            _check_range(name, getattr(self, name), *bounds)

    def repeat(self, length: int) -> Motion:
        """This one frame, ``length`` times."""
        return self.with_fields(**{name: np.repeat(getattr(self, name), length, 0) for name in FIELDS})

    def with_fields(self, **fields: Array) -> Motion:
        """A copy in which the named fields are replaced; all fields must agree on the number of frames."""
        kept = {name: getattr(self, name) for name in FIELDS}
        return Motion(**{**kept, **fields}, fps=self.fps, space=self.space, style=self.style)

    def with_style(self, style: Floats) -> Motion:
        """A copy that says in what style (n,) it was generated."""
        return replace(self, style=tuple(np.round(np.asarray(style, np.float64), 5).tolist()))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the motion as safetensors; the file appears when it is complete. Equal motions give equal bytes.

        Expressions of many keypoints are stored as float16 (landmarks: 72 KB instead of 143 a second at 25 fps), which
        moves nothing by more than 1/4000 of its unit while movements stay below 1.

        Raises:
            OutputError: the file cannot be written there.
        """
        header = {"kptalk": "motion", "fps": str(self.fps), "space": self.space}
        if self.style:
            header["style"] = " ".join(f"{number:.5f}" for number in self.style)
        try:
            fields = {name: np.ascontiguousarray(getattr(self, name)) for name in FIELDS}
            if (
                fields["expression"].shape[1] > N_KEYPOINTS
                and np.abs(fields["expression"]).max(initial=0) < LARGEST_HALF
            ):
                fields["expression"] = fields["expression"].astype(np.float16)
            content = with_sorted_header(save(fields, metadata=header))
        except SafetensorError as error:
            raise OutputError(f"cannot write motion file {path}: {explain(error)}") from error
        write_bytes(path, content)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Motion:
        """Read a motion that ``save`` wrote.

        Raises:
            MotionError: the file is absent, no safetensors, or no motion; or it has no frames, or numbers outside
                ``BOUNDS``.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                header = file.metadata() or {}
                if header.get("kptalk") != "motion":
                    raise MotionError("this is not a motion file")
                if missing := [name for name in FIELDS if name not in file.keys()]:  # noqa: SIM118
                    raise MotionError(f"it has no {missing[0]}")
                fields = {name: file.get_tensor(name) for name in FIELDS}
            rate, space = header.get("fps", ""), header.get("space", "")
            if not re.fullmatch(r"[0-9]{1,9}(/[0-9]{0,8}[1-9][0-9]{0,8})?", rate):  # 1e999999999 would never be read
                raise MotionError(f"its frame rate is {rate[:40]!r}, expected a number such as 25 or 30000/1001")
            if not 0 < len(space) <= 64 or not space.isprintable():
                raise MotionError(f"its motion space is {space[:40]!r}, expected a name")
            style = header.get("style", "")
            if not re.fullmatch(r"(-?[0-9]{1,2}\.[0-9]{1,6}( |$)){0,100}", style):
                raise MotionError(f"its style is {style[:40]!r}, expected numbers below 100")
            numbers = tuple(float(number) for number in style.split())
            motion = cls(**fields, fps=Fraction(rate), space=space, style=numbers)
            motion.require_bounds()
        except FileNotFoundError as error:
            raise MotionError(f"no motion file {path}") from error
        except (MotionError, OSError, SafetensorError, TypeError, ValueError) as error:
            raise MotionError(f"cannot read motion file {path}: {explain(error)}") from error
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


def _numbers(name: str, value: Floats) -> Array:
    """A field's value as float32: a copy, which nobody else may change."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of unequal length
        raise MotionError(f"motion field {name} is no array of numbers") from error
    if array.dtype.kind not in "fiu":
        raise MotionError(f"motion field {name} holds {array.dtype}, expected numbers")
    with np.errstate(over="ignore"):  # infinity, which is refused
        return np.array(array, np.float32)


def _check_range(name: str, value: Array, low: float, high: float) -> None:
    """Raises MotionError where a number of a field is not between these; NaN never is."""
    inside = (value >= low) & (value <= high)
    if not inside.all():
        at = tuple(np.argwhere(~inside)[0].tolist())
        usual = "{:g} to {:g}".format(*BOUNDS[name])
        raise MotionError(f"motion field {name} is {value[at]:.3g} in frame {at[0]}, expected {usual}")
