"""``kptalk motion``: motion files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from kptalk.cli import console as cli
from kptalk.cli import options as flags
from kptalk.cli.animate import frame_rate

app = typer.Typer(
    no_args_is_help=True, help="Motion files: take them from a video, plot them, draw them on a portrait."
)
MotionFile = Annotated[Path, typer.Argument(metavar="FILE", help="The motion, a .safetensors file.")]


@app.command()
def extract(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video of a person.")],
    output: Annotated[Path, typer.Option("--output-file", "-o", help="The motion to write, a .safetensors file.")],
    fps: Annotated[str | None, typer.Option(help="Frames a second, such as 25 or 29.97; the video's own.")] = None,
    weights: flags.Weights = "embedded",
    device: flags.Device = "auto",
    overwrite: flags.Overwrite = False,
    quiet: flags.Quiet = False,
) -> None:
    """Take the motion of the largest face from a video."""
    from kptalk.job import MOTION_SUFFIX, check_file_output
    from kptalk.motion.facemesh.reader import VideoMotion
    from kptalk.pipeline import load_reader
    from kptalk.types import Motion

    check_file_output(output, MOTION_SUFFIX, overwrite)
    pieces = []
    try:
        with cli.stages(quiet) as tell:
            found = VideoMotion(load_reader(weights, device), video, frame_rate(fps) if fps else None)
            for piece in found:
                pieces.append(piece)
                tell("motion", sum(map(len, pieces)), found.frames_hint)
            Motion.concatenate(pieces).save(output)
    except KeyboardInterrupt:
        cli.say("stopped", "nothing was written")
        raise typer.Exit(cli.INTERRUPTED) from None
    if not quiet:
        cli.output.print(f"{output}  ({sum(map(len, pieces))} frames at {float(found.fps):g} fps)")


@app.command()
def show(
    motion: MotionFile,
    output: Annotated[Path, typer.Option("--output-file", "-o", help="The plot to write, a .png file.")],
    weights: flags.Weights = "embedded",
    overwrite: flags.Overwrite = False,
    quiet: flags.Quiet = False,
) -> None:
    """Plot the tracks of a motion: head rotation, scale, place, lips and lids."""
    from kptalk.job import check_file_output
    from kptalk.methods.facemesh import load_space
    from kptalk.motion.plot import PLOT_SUFFIX, plot_motion
    from kptalk.types import Motion

    check_file_output(output, PLOT_SUFFIX, overwrite)
    plot_motion(Motion.load(motion), load_space("embedded" if weights == "official" else weights), output)
    if not quiet:
        cli.output.print(str(output))


@app.command()
def render(
    portrait: flags.Portrait,
    motion: MotionFile,
    output: flags.Video,
    speech: Annotated[Path | None, typer.Option(help="The sound, cut or filled up to the motion's length.")] = None,
    mode: Annotated[
        str, typer.Option(help="'absolute': the motion as it is; 'relative': its changes added to the photo's own.")
    ] = "absolute",
    region: flags.Region = "all",
    weights: flags.Weights = "embedded",
    renderer: flags.Renderer = None,
    fps: Annotated[str | None, typer.Option(help="Frames a second, such as 25 or 29.97; the motion's own.")] = None,
    size: flags.Size = None,
    picture: flags.Show = "full",
    stitch: flags.Stitch = None,
    face: flags.FaceNumber = None,
    device: flags.Device = "auto",
    overwrite: flags.Overwrite = False,
    quiet: flags.Quiet = False,
) -> None:
    """Draw a motion on a portrait."""
    started = time.perf_counter()
    from kptalk.media.encoder import check_output
    from kptalk.motion.retarget import RetargetOptions
    from kptalk.pipeline import Pipeline, ReenactOptions
    from kptalk.types import Motion

    check_output(output, overwrite)
    options = ReenactOptions(RetargetOptions(mode, region), frame_rate(fps) if fps else None, size, picture, stitch)
    with cli.interruptible(output), cli.stages(quiet) as tell:
        driver = Motion.load(motion)
        tell("loading the models", 0, 1)
        pipeline = Pipeline.from_pretrained(weights, device, renderer)
        tell("loading the models", 1, 1)
        loaded = time.perf_counter()
        animation = pipeline.reenact(portrait, driver, speech, face=face, options=options)
        animation.save(output, overwrite=overwrite, progress=tell)
    if not quiet:
        cli.report(output, {"loading": loaded - started, **animation.seconds}, time.perf_counter() - started)
