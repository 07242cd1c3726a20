"""``kptalk motion``: motion files."""

from pathlib import Path
from typing import Annotated

import typer

from kptalk.cli import console, options, process
from kptalk.cli.video import VideoCommand, drive
from kptalk.errors import MotionError
from kptalk.files import MOTION_SUFFIX, PLOT_SUFFIX, check_readable, check_writable, claimed
from kptalk.options import parse_fps

app = typer.Typer(no_args_is_help=True, help="Motion files: take from a video, plot, draw on a portrait.")
MotionFile = Annotated[Path, typer.Argument(metavar="FILE", help="The motion, a .safetensors file.")]


@app.command(cls=options.Grouped)
def extract(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video of a person.")],
    output: Annotated[Path, options.flag("The motion file to write.", "--output", "-o", metavar="OUT.safetensors")],
    overwrite: options.Overwrite = False,
    fps: Annotated[
        str | None, options.flag("Frames per second, such as 25 or 29.97; the video's own.", group="Motion")
    ] = None,
    model: options.Model = "embedded",
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Take the motion of the largest face from a video."""
    check_writable(output, MOTION_SUFFIX, overwrite)
    rate = parse_fps(fps) if fps else None
    check_readable(video, "a video")
    with console.progress_bars(quiet) as stages:
        with stages.of("loading", since=process.began()), stages.spinner("loading the model"):
            from kptalk.pipeline import video_motion

            found = video_motion(video, rate, model, device)
        stages("motion", 0, None)
        with claimed(output):
            motion = found.read(on_progress=lambda done, total: stages("motion", done, total))
            motion.save(output)
    if not quiet:
        console.output.print(f"{output}  ({len(motion)} frames at {float(found.fps):g} fps)")


@app.command(cls=options.Grouped)
def show(
    motion: MotionFile,
    output: Annotated[Path, options.flag("The plot to write.", "--output", "-o", metavar="OUT.png")],
    overwrite: options.Overwrite = False,
    model: options.Model = "embedded",
    quiet: options.Quiet = False,
) -> None:
    """Plot the tracks of a motion: head rotation, scale, place, lips and lids."""
    check_writable(output, PLOT_SUFFIX, overwrite)
    check_readable(motion, "a motion file", MotionError)
    with console.loading():
        from kptalk.methods.facemesh import load_space
        from kptalk.motion.plot import plot_motion
        from kptalk.types import Motion
        from kptalk.weights.model import open_model

    folder = open_model(model)
    plot_motion(Motion.load(motion), load_space(open_model("embedded") if folder.official else folder), output)
    if not quiet:
        console.output.print(str(output))


@app.command(cls=options.Grouped)
@options.spread
def render(
    portrait: options.Portrait,
    motion: MotionFile,
    command: VideoCommand,
    driving: options.Driving,
) -> None:
    """Draw a motion on a portrait."""
    how = driving.parsed()
    command.check(portrait, speech=driving.speech, motion=motion)
    from kptalk.types import Motion

    drive(command, driving, how, portrait, motion, Motion.load(motion))
