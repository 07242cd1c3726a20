"""``kptalk reenact``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from kptalk.cli import console as cli
from kptalk.cli import options as flags
from kptalk.cli.animate import frame_rate


def reenact(
    portrait: flags.Portrait,
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="The driver: a video of a person; its sound is kept.")],
    output: flags.Video,
    mode: Annotated[
        str,
        typer.Option(
            help="'relative': the driver's changes are added to the photo's pose and look; 'absolute': they replace it."
        ),
    ] = "relative",
    region: flags.Region = "all",
    weights: flags.Weights = "embedded",
    renderer: flags.Renderer = None,
    fps: Annotated[str | None, typer.Option(help="Frames a second, such as 25 or 29.97; the driver's own.")] = None,
    size: flags.Size = None,
    show: flags.Show = "full",
    stitch: flags.Stitch = None,
    face: flags.FaceNumber = None,
    device: flags.Device = "auto",
    save_motion: flags.SaveMotion = None,
    overwrite: flags.Overwrite = False,
    quiet: flags.Quiet = False,
) -> None:
    """Let a portrait move as the person in a video does."""
    started = time.perf_counter()
    from kptalk.job import MOTION_SUFFIX, check_file_output
    from kptalk.media.encoder import check_output
    from kptalk.motion.retarget import RetargetOptions
    from kptalk.pipeline import Pipeline, ReenactOptions

    check_output(output, overwrite)
    if save_motion:
        check_file_output(save_motion, MOTION_SUFFIX, overwrite)
    options = ReenactOptions(RetargetOptions(mode, region), frame_rate(fps) if fps else None, size, show, stitch)
    with cli.interruptible(output), cli.stages(quiet) as tell:
        tell("loading the models", 0, 1)
        pipeline = Pipeline.from_pretrained(weights, device, renderer)
        tell("loading the models", 1, 1)
        loaded = time.perf_counter()
        animation = pipeline.reenact(portrait, video, face=face, options=options)
        animation.save(output, overwrite=overwrite, save_motion=save_motion, progress=tell)
    if not quiet:
        cli.report(output, {"loading": loaded - started, **animation.seconds}, time.perf_counter() - started)
