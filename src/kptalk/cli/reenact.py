"""``kptalk reenact``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from kptalk.cli import console, options
from kptalk.options import ReenactOptions, RetargetOptions, parse_fps


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
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    save_motion: options.SaveMotion = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Let a portrait move as the person in a video does."""
    started = time.perf_counter()
    console.check_outputs(output, save_motion, overwrite)
    how = ReenactOptions(
        size=size,
        framing=framing,
        stitch=stitch,
        retarget=RetargetOptions(mode, region),
        fps=parse_fps(fps) if fps else None,
    )
    with console.interruptible(output), console.progress_bars(quiet) as on_progress:
        pipeline = console.load_pipeline(model, device, precision, on_progress)
        loaded = time.perf_counter()
        animation = pipeline.reenact(portrait, video, face=face, options=how)
        animation.save(output, overwrite=overwrite, save_motion=save_motion, on_progress=on_progress)
    if not quiet:
        console.report(output, {"loading": loaded - started, **animation.seconds}, time.perf_counter() - started)
