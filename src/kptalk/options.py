"""The options of a video: every one documented, bounded and named here once.

The command line's help, the table in README and the job format of batch and server come from these dataclasses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from fractions import Fraction
from numbers import Real
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kptalk.errors import OptionError
from kptalk.limits import MAX_DENOMINATOR, MAX_FPS, MIN_FPS

if TYPE_CHECKING:  # the command line's help shall not wait for NumPy
    from kptalk.types import Motion

FPS_RANGE = MIN_FPS, MAX_FPS
NO_MOTION = ("auto", "still")


def option(
    default: Any,
    help: str,
    *,
    bounds: tuple[float, float] | None = None,
    choices: tuple[str, ...] | None = None,
    group: str = "Motion",
) -> Any:
    """A field of the dataclasses below: its default, its help text, what values it takes beside the default.

    ``group`` is where the command line's help shows it.
    """
    return field(default=default, metadata={"help": help, "bounds": bounds, "choices": choices, "group": group})


class _Validated:
    """Checks every field against its metadata."""

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value, bounds, choices = getattr(self, each.name), each.metadata.get("bounds"), each.metadata.get("choices")
            if value is None and each.default is None:
                continue
            if choices and value not in choices:
                expected = f"{', '.join(choices[:-1])} or {choices[-1]}"
                raise OptionError(f"{each.name} is {value!r}: give {expected}")
            if bounds:
                low, high = bounds
                if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
                    raise OptionError(f"{each.name} is {value!r}: give a number from {low} to {high}")
                whole = str(each.type).startswith("int")
                if not low <= value <= high or (whole and value % 1):
                    raise OptionError(f"{each.name} is {value}: give {low} to {high}")
                if not isinstance(value, Fraction):  # NumPy's numbers are none for JSON
                    object.__setattr__(self, each.name, (int if whole else float)(getattr(self, each.name)))


@dataclass(frozen=True)
class Control(_Validated):
    """What of the generated motion is changed; each option acts by itself.

    Attributes:
        pose: ``auto`` (generated), ``still`` (the photo's own), or where the pose is taken from: a motion, or the path
            of a motion file or a video.
        silence_gate: whether the mouth rests where there is no speech.
        ease_in_out: whether the video starts and ends with the photo's own face.
    """

    pose: str | PathLike[str] | Motion = option("auto", "'auto', 'still', a motion file or a video to take it from.")
    pose_scale: float = option(1.0, "Size of the head's movement.", bounds=(0, 3))
    yaw: float = option(0.0, "Degrees to turn the head by.", bounds=(-30, 30))
    pitch: float = option(0.0, "Degrees to nod the head by.", bounds=(-25, 25))
    roll: float = option(0.0, "Degrees to tilt the head by.", bounds=(-30, 30))
    mouth_scale: float = option(1.0, "Size of the mouth's movement.", bounds=(0, 3))
    expression_scale: float = option(1.0, "Size of the rest of the face's movement.", bounds=(0, 3))
    blinks: float | None = option(None, "Blinks per minute; the model's own number.", bounds=(0, 60))
    silence_gate: bool = option(True, "Close the mouth where there is no speech.")
    ease_in_out: bool = option(True, "Start and end with the photo's own face.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.pose, str | PathLike):
            if not len(self.pose):
                raise OptionError("pose is a motion without frames")
        elif fspath(self.pose) not in NO_MOTION and not Path(self.pose).suffix:
            raise OptionError(f"pose is {self.pose!r}: give auto, still, a motion file or a video")

    @property
    def pose_file(self) -> Path | None:
        """The file that the pose is taken from, where it is one."""
        if not isinstance(self.pose, str | PathLike) or fspath(self.pose) in NO_MOTION:
            return None
        return Path(self.pose)


@dataclass(frozen=True)
class RetargetOptions(_Validated):
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


@dataclass(frozen=True)
class _Picture(_Validated):
    """What the video shows."""

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

    def __post_init__(self) -> None:
        super().__post_init__()
        fps = getattr(self, "fps", None)
        if fps is not None:
            object.__setattr__(self, "fps", Fraction(fps).limit_denominator(MAX_DENOMINATOR))


@dataclass(frozen=True)
class Options(_Picture):
    """How a portrait speaks.

    ``seed`` fixes the video to the byte on one machine; ``fps`` is kept as the nearest fraction that files can hold.
    """

    seed: int = option(0, "Fixes head motion and blinks: same seed and speech, same bytes.", bounds=(0, 2**63 - 1))
    fps: Fraction = option(
        Fraction(25), "Frames per second, such as 25, 29.97 or 30000/1001.", bounds=FPS_RANGE, group="Picture"
    )
    steps: int | None = option(None, "Denoising steps; the model knows a good number.", bounds=(1, 1000))
    control: Control = field(default_factory=Control)

    def to_dict(self) -> dict[str, Any]:
        """The options that differ from their defaults, flat, as JSON values: a job of batch or server.

        Raises:
            OptionError: the pose is a motion in memory, which has no place in a job: save it and give its path.
        """
        if not isinstance(self.control.pose, str | PathLike):
            raise OptionError("pose is a motion in memory: save it and give its path")
        return {**_changed(self), **_changed(self.control)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Options:
        """The inverse of ``to_dict``.

        Raises:
            OptionError: an option is unknown, or its value makes no sense.
        """
        return cls().changed(**values)

    def changed(self, **values: Any) -> Options:
        """A copy with other values of some options, by name; those of ``control`` too.

        Raises:
            OptionError: an option is unknown, or its value makes no sense.
        """
        own, control = ({each.name for each in fields(kind)} for kind in (Options, Control))
        if unknown := set(values) - own - control:
            raise OptionError(f"unknown options: {', '.join(sorted(unknown))}")
        if "fps" in values:
            values["fps"] = parse_fps(values["fps"])
        inner = {name: values.pop(name) for name in control & set(values)}
        changed = replace(self, **values)
        return replace(changed, control=replace(changed.control, **inner)) if inner else changed


@dataclass(frozen=True)
class ReenactOptions(_Picture):
    """How a portrait is driven by another motion; ``fps`` None keeps the driver's frame rate."""

    retarget: RetargetOptions = field(default_factory=RetargetOptions)
    fps: Fraction | None = option(
        None, "Frames per second, such as 25 or 29.97; the driver's own.", bounds=FPS_RANGE, group="Picture"
    )


def parse_fps(value: str | float | Fraction) -> Fraction:
    """A frame rate as users write it: a number or text such as 25, 29.97 (which means 30000/1001) or 30000/1001.

    Raises:
        OptionError: it is no number.
    """
    try:
        rate = Fraction(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise OptionError(f"fps is {value!r}: give a number such as 25, 29.97 or 30000/1001") from None
    broadcast = round(rate * Fraction(1001, 1000))
    ntsc = Fraction(broadcast * 1000, 1001)
    return ntsc if rate.denominator != 1 and abs(rate - ntsc) < Fraction(1, 100) else rate


def help_of(options: type, name: str) -> str:
    """The help text of one option."""
    return next(str(each.metadata["help"]) for each in fields(options) if each.name == name)


def _changed(options: Any) -> dict[str, Any]:
    """Fields that are not as by default, as JSON values."""
    changed = {}
    for each in fields(options):
        value = getattr(options, each.name)
        if each.default is not MISSING and value != each.default:
            changed[each.name] = value if isinstance(value, (int, float, str, type(None))) else str(value)
    return changed
