"""Arguments and options of several commands; their help comes from ``kptalk.options``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kptalk.errors import OptionError
from kptalk.options import Control, Options, ReenactOptions, RetargetOptions, help_of, parse_fps


def option(options: type, name: str, *flags: str) -> Any:
    """The command line's form of an option: same name, same help."""
    return typer.Option(*flags, help=help_of(options, name))


Portrait = Annotated[Path, typer.Argument(metavar="PORTRAIT", help="The photo: any image file.")]
Video = Annotated[Path, typer.Option("--output", "-o", metavar="OUT.mp4", help="The video to write.")]
Model = Annotated[str, typer.Option(help="'embedded', 'official', or a model folder.")]
Size = Annotated[int | None, option(Options, "size")]
Framing = Annotated[str, option(Options, "framing")]
Stitch = Annotated[bool | None, option(Options, "stitch", "--stitch/--no-stitch")]
Rotate = Annotated[str, option(Options, "rotate")]
FaceNumber = Annotated[int | None, typer.Option("--face", help="Which of several faces, 1 is the leftmost.")]
Seed = Annotated[int, option(Options, "seed")]
Steps = Annotated[int | None, option(Options, "steps")]
Fps = Annotated[str, option(Options, "fps")]
OtherFps = Annotated[str | None, option(ReenactOptions, "fps", "--fps")]
Mode = Annotated[str, option(RetargetOptions, "mode")]
Region = Annotated[str, option(RetargetOptions, "region")]
Pose = Annotated[str, option(Control, "pose")]
PoseScale = Annotated[float, option(Control, "pose_scale")]
Yaw = Annotated[float, option(Control, "yaw")]
Pitch = Annotated[float, option(Control, "pitch")]
Roll = Annotated[float, option(Control, "roll")]
MouthScale = Annotated[float, option(Control, "mouth_scale")]
ExpressionScale = Annotated[float, option(Control, "expression_scale")]
Blinks = Annotated[str, typer.Option(help="'auto', 'off', or blinks per minute.")]
Precision = Annotated[str, typer.Option(help="kdtalker: 'auto', or 'float32' where auto takes bfloat16.")]
SaveMotion = Annotated[Path | None, typer.Option(help="Also write the motion, a .safetensors file.")]
Device = Annotated[str, typer.Option(help="'auto', 'cpu', 'cuda' or 'mps'.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but warnings and errors.")]


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


def reenact_options(
    mode: str, region: str, fps: str | None, size: int | None, framing: str, stitch: bool | None, rotate: str
) -> ReenactOptions:
    """The options that ``reenact`` and ``motion render`` share."""
    rate = None if fps is None else parse_fps(fps)
    retarget = RetargetOptions(mode, region)
    return ReenactOptions(size=size, framing=framing, stitch=stitch, rotate=rotate, retarget=retarget, fps=rate)
