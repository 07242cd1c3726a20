"""``kptalk reenact``."""

from pathlib import Path
from typing import Annotated

import typer

from kptalk.cli import console, options


def reenact(
    portrait: options.Portrait,
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="The driver: a video of a person; its sound is kept.")],
    output: options.Video,
    mode: options.Mode = "relative",
    region: options.Region = "all",
    model: options.Model = "embedded",
    fps: options.OtherFps = None,
    size: options.Size = None,
    framing: options.Framing = "full",
    stitch: options.Stitch = None,
    face: options.FaceNumber = None,
    rotate: options.Rotate = "auto",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    save_motion: options.SaveMotion = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Let a portrait move as the person in a video does."""
    command = console.Command(output, model, device, precision, overwrite, quiet, save_motion)
    command.check()
    how = options.reenact_options(mode, region, fps, size, framing, stitch, rotate)
    command.run(lambda pipeline, _: pipeline.reenact(portrait, video, face=face, options=how))
