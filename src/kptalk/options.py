"""The options of a video: every one documented, bounded and named here once.

The command line's help, the table in README and the job format of batch and server come from these dataclasses; the
typed dictionaries tell type checkers and editors what each option takes, which is more than the type it is kept in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeGuard, Unpack

from kptalk.errors import OptionError
from kptalk.validation import FPS_RANGE, Validated, option, shown
from kptalk.validation import parse_fps as parse_fps  # beside the options, for who reads text

if TYPE_CHECKING:  # the command line's help shall not wait for NumPy
    from kptalk.types import Motion

NO_MOTION = ("auto", "still")
STYLES = ("auto", "calm", "lively")


class ControlKeywords(TypedDict, total=False):
    """What ``Control`` takes."""

    pose: str | PathLike[str] | Motion
    pose_scale: float | str
    style: str | PathLike[str] | Motion
    liveliness: float | str
    head_spread: float | str | None
    yaw: float | str
    pitch: float | str
    roll: float | str
    mouth_scale: float | str
    expression_scale: float | str
    blinks: float | str | None
    silence_gate: bool
    ease_in_out: bool


class RetargetKeywords(TypedDict, total=False):
    """What ``RetargetOptions`` takes."""

    mode: str
    region: str


class _PictureKeywords(TypedDict, total=False):
    size: int | str | None
    framing: str
    stitch: bool | None
    rotate: str
    refine: bool | None
    draw_steps: int | str | None
    guidance: float | str | None
    watermark: bool


class _SpeakingKeywords(_PictureKeywords, total=False):
    seed: int | str
    fps: Fraction | float | str
    steps: int | str | None
    control: Control


class _DrivenKeywords(_PictureKeywords, total=False):
    retarget: RetargetOptions
    fps: Fraction | float | str | None


class OptionKeywords(_SpeakingKeywords, ControlKeywords, total=False):
    """What ``animate`` and ``stream`` take as keywords: the fields of ``Options`` and ``Control``."""


class ReenactKeywords(_DrivenKeywords, RetargetKeywords, total=False):
    """What ``reenact`` takes as keywords: the fields of ``ReenactOptions`` and ``RetargetOptions``."""


@dataclass(frozen=True, repr=False)
class Control(Validated):
    """What of the generated motion is changed; each option acts by itself.

    Attributes:
        pose: ``auto`` (generated), ``still`` (the photo's own), or where the pose is taken from: a motion, or the path
            of a motion file or a video.
        style: ``auto`` (another person's for every seed and speech), ``calm``, ``lively``, or whose style it is: a
            motion, or the path of a motion file or a video, of 8 s or more.
        liveliness: what is added to the style, in standard deviations of people.
        head_spread: standard deviation of the yaw in degrees; the rest of the style goes along.
        silence_gate: whether the mouth rests where there is no speech.
        ease_in_out: whether the video starts and ends with the photo's own face.
    """

    pose: str | PathLike[str] | Motion = option("auto", "'auto', 'still', a motion file or a video to take it from.")
    pose_scale: float = option(1.0, "Size of the head's movement.", bounds=(0, 3))
    style: str | PathLike[str] | Motion = option(
        "auto", "How one moves: 'auto' (drawn by the seed), 'calm', 'lively', or as in a video of 8 s or more."
    )
    liveliness: float = option(
        0.0, "Livelier or calmer than the style, in people's standard deviations.", bounds=(-4, 4)
    )
    head_spread: float | None = option(
        None, "Degrees by which the head turns aside, standard deviation; the style's own.", bounds=(0.1, 20)
    )
    yaw: float = option(0.0, "Degrees to turn the head by.", bounds=(-30, 30))
    pitch: float = option(0.0, "Degrees to nod the head by.", bounds=(-25, 25))
    roll: float = option(0.0, "Degrees to tilt the head by.", bounds=(-30, 30))
    mouth_scale: float = option(1.0, "Size of the mouth's movement.", bounds=(0, 3))
    expression_scale: float = option(1.0, "Size of the rest of the face's movement.", bounds=(0, 3))
    blinks: float | None = option(None, "Blinks per minute; the model's own number.", bounds=(0, 60))
    silence_gate: bool = option(True, "Close the mouth where there is no speech.")
    ease_in_out: bool = option(True, "Start and end with the photo's own face.")

    if TYPE_CHECKING:

        def __init__(self, **values: Unpack[ControlKeywords]) -> None: ...

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_source("pose", self.pose, NO_MOTION)
        _check_source("style", self.style, STYLES)

    @property
    def pose_file(self) -> Path | None:
        """The file that the pose is taken from, where it is one."""
        return _file(self.pose, NO_MOTION)

    @property
    def style_file(self) -> Path | None:
        """The file that the style is taken from, where it is one."""
        return _file(self.style, STYLES)


@dataclass(frozen=True, repr=False)
class RetargetOptions(Validated):
    """What of a driver's motion a portrait takes over."""

    mode: str = option(
        "relative",
        "'relative': the driver's changes are added to the photo's pose and look; 'absolute': they replace it.",
        choices=("relative", "absolute"),
    )
    region: str = option(
        "all",
        "What moves: 'all', 'pose', 'expression', 'lips' or 'eyes'.",
        choices=("all", "pose", "expression", "lips", "eyes"),
    )


@dataclass(frozen=True, repr=False)
class _Picture(Validated):
    """What the video shows; and how options travel, those of the inner dataclass in one row with the others."""

    size: int | None = option(
        None, "Longest side in pixels: photo's own up to 1280; crop 512.", bounds=(64, 4096), group="Picture"
    )
    framing: str = option(
        "full",
        "'full': the whole photo; 'crop': the square around the face.",
        choices=("full", "crop"),
        group="Picture",
    )
    stitch: bool | None = option(None, "kdtalker: keep the shoulders in place; yes where full.", group="Picture")
    rotate: str = option(
        "auto", "Turned photos: 'auto': upright; 'no': refused.", choices=("auto", "no"), group="Picture"
    )
    refine: bool | None = option(
        None, "Mouth and eyes by a network, 0.05 s a frame: no for embedded, yes for landmark.", group="Picture"
    )
    draw_steps: int | None = option(
        None, "landmark: denoising steps of a frame; the model knows a good number.", bounds=(1, 1000), group="Picture"
    )
    guidance: float | None = option(
        None, "landmark: weight of the landmarks in a frame; 1 is none extra.", bounds=(0, 10), group="Picture"
    )
    watermark: bool = option(True, "Hide in the picture that kptalk made it; see verify.", group="Picture")

    def to_dict(self) -> dict[str, Any]:
        """The options that differ from their defaults, flat, as JSON values: a job of batch or server.

        Raises:
            OptionError: the pose is a motion in memory, which has no place in a job: save it and give its path.
        """
        return {**_changed(self), **_changed(self._inner)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of ``to_dict``.

        Raises:
            OptionError: an option is unknown, or its value makes no sense.
        """
        return cls()._with(dict(values))

    @property
    def _inner(self) -> Any:
        """The inner dataclass, ``control`` or ``retarget``."""
        return getattr(self, self._inner_name())

    @classmethod
    def _inner_name(cls) -> str:
        return next(each.name for each in fields(cls) if each.default_factory is not MISSING)

    def _with(self, values: dict[str, Any]) -> Self:
        own, inner = ({each.name for each in fields(one)} for one in (self, self._inner))
        if unknown := set(values) - own - inner:
            raise OptionError(f"unknown options: {', '.join(sorted(map(str, unknown)))}")
        changed = replace(self, **{name: value for name, value in values.items() if name in own})
        if not (of_inner := {name: value for name, value in values.items() if name in inner}):
            return changed
        return replace(changed, **{self._inner_name(): replace(changed._inner, **of_inner)})


@dataclass(frozen=True, repr=False)
class Options(_Picture):
    """How a portrait speaks.

    ``seed`` fixes the video to the byte on one machine; ``fps`` is kept as the nearest fraction that files can hold.
    Numbers may be given as text, ``size="512"``, ``fps="30000/1001"``.

    Raises:
        OptionError: a value makes no sense; the message names the option and what it takes.
    """

    seed: int = option(0, "Fixes head motion and blinks: same seed and speech, same bytes.", bounds=(0, 2**63 - 1))
    fps: Fraction = option(
        Fraction(25), "Frames per second, such as 25, 29.97 or 30000/1001.", bounds=FPS_RANGE, group="Picture"
    )
    steps: int | None = option(None, "Denoising steps; the model knows a good number.", bounds=(1, 1000))
    control: Control = field(default_factory=Control)

    if TYPE_CHECKING:

        def __init__(self, **values: Unpack[_SpeakingKeywords]) -> None: ...

    def changed(self, **values: Unpack[OptionKeywords]) -> Options:
        """A copy with other values of some options, by name; those of ``control`` too.

        Raises:
            OptionError: an option is unknown, or its value makes no sense.
        """
        return self._with({**values})


@dataclass(frozen=True, repr=False)
class ReenactOptions(_Picture):
    """How a portrait is driven by another motion; ``fps`` None keeps the driver's frame rate.

    Raises:
        OptionError: a value makes no sense; the message names the option and what it takes.
    """

    retarget: RetargetOptions = field(default_factory=RetargetOptions)
    fps: Fraction | None = option(
        None, "Frames per second, such as 25 or 29.97; the driver's own.", bounds=FPS_RANGE, group="Picture"
    )

    if TYPE_CHECKING:

        def __init__(self, **values: Unpack[_DrivenKeywords]) -> None: ...

    def changed(self, **values: Unpack[ReenactKeywords]) -> ReenactOptions:
        """A copy with other values of some options, by name; those of ``retarget`` too.

        Raises:
            OptionError: an option is unknown, or its value makes no sense.
        """
        return self._with({**values})


def _check_source(name: str, value: object, words: tuple[str, ...]) -> None:
    """Make sure that what motion is taken from is a word, a path or a motion with frames; raises OptionError."""
    if is_motion(value):
        if not len(value):
            raise OptionError(f"{name} is a motion without frames")
    elif not isinstance(value, str | PathLike) or not (value in words or Path(value).suffix):
        raise OptionError(f"{name} is {shown(value)}: give {', '.join(words)}, a motion file or a video")


def _file(value: object, words: tuple[str, ...]) -> Path | None:
    return Path(value) if isinstance(value, str | PathLike) and value not in words else None


def parse_blinks(text: str) -> float | None:
    """Blinks per minute; None for the model's own number.

    Raises:
        OptionError: it is neither a number nor ``auto`` or ``off``.
    """
    if text == "auto":
        return None
    try:
        return 0.0 if text == "off" else float(text)
    except ValueError:
        raise OptionError(f"blinks is {text!r}: give auto, off or blinks per minute") from None


def help_of(options: type, name: str) -> str:
    """The help text of one option."""
    return next(str(each.metadata["help"]) for each in fields(options) if each.name == name)


def _changed(options: Any) -> dict[str, Any]:
    """Fields that are not as by default, as JSON values."""
    changed = {}
    for each in fields(options):
        value = getattr(options, each.name)
        if is_motion(value):
            raise OptionError(f"{each.name} is a motion in memory: save it and give its path")
        if each.default is not MISSING and value != each.default:
            changed[each.name] = value if isinstance(value, (int, float, str, type(None))) else str(value)
    return changed


def is_motion(pose: object) -> TypeGuard[Motion]:
    """Whether a pose is a motion in memory, and not a word or path."""
    if isinstance(pose, str | PathLike):
        return False
    from kptalk.types import Motion

    return isinstance(pose, Motion)
