"""``kptalk reenact``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from kptalk.cli import show as cli
from kptalk.cli.animate import frame_rate


def reenact(
    portrait: Annotated[Path, typer.Argument(metavar="PORTRAIT", help="The photo: any image file.")],
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="The driver: a video of a person; its sound is kept.")],
    output: Annotated[Path, typer.Option("--output-file", "-o", help="The video to write, an .mp4 file.")],
    mode: Annotated[
        str,
        typer.Option(
            help="'relative': the driver's changes are added to the photo's pose and look; 'absolute': they replace it."
        ),
    ] = "relative",
    region: Annotated[str, typer.Option(help="What moves: 'all', 'pose', 'expression', 'lips' or 'eyes'.")] = "all",
    weights: Annotated[
        str, typer.Option(help="'embedded', 'official', or a folder that 'kptalk train' filled.")
    ] = "embedded",
    renderer: Annotated[str | None, typer.Option(help="'mesh' or 'liveportrait'; the weights know which.")] = None,
    fps: Annotated[str | None, typer.Option(help="Frames a second, such as 25 or 29.97; the driver's own.")] = None,
    size: Annotated[int | None, typer.Option(help="Longest side in pixels: photo's own up to 1280; crop 512.")] = None,
    show: Annotated[
        str, typer.Option("--output", help="'full': the whole photo; 'crop': the square round the face.")
    ] = "full",
    stitch: Annotated[
        bool | None, typer.Option("--stitch/--no-stitch", help="liveportrait: keep shoulders in place; yes where full.")
    ] = None,
    face: Annotated[int | None, typer.Option(help="Which of several faces, 1 is the leftmost.")] = None,
    device: Annotated[str, typer.Option(help="'auto', 'cpu', 'cuda' or 'mps'.")] = "auto",
    save_motion: Annotated[Path | None, typer.Option(help="Also write the motion, a .safetensors file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but warnings and errors.")] = False,
) -> None:
    """Let a portrait move as the person in a video does."""
    started = time.perf_counter()
    from kptalk.animation import MOTION_SUFFIX, check_file_output
    from kptalk.media.video import check_output
    from kptalk.motion.retarget import Drive
    from kptalk.pipeline import Pipeline, ReenactOptions

    check_output(output, overwrite)
    if save_motion:
        check_file_output(save_motion, MOTION_SUFFIX, overwrite)
    options = ReenactOptions(Drive(mode, region), frame_rate(fps) if fps else None, size, show, stitch)
    with cli.interruptible(output), cli.stages(quiet) as tell:
        tell("loading the models", 0, 1)
        pipeline = Pipeline.from_pretrained(weights, device, renderer)
        tell("loading the models", 1, 1)
        loaded = time.perf_counter()
        animation = pipeline.reenact(portrait, video, face=face, options=options)
        animation.save(output, overwrite=overwrite, save_motion=save_motion, progress=tell)
    if not quiet:
        cli.report(output, {"loading": loaded - started, **animation.seconds}, time.perf_counter() - started)
