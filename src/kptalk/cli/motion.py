"""``kptalk motion``: motion files."""

from pathlib import Path
from typing import Annotated

import typer

from kptalk.cli import console, options
from kptalk.options import parse_fps

app = typer.Typer(no_args_is_help=True, help="Motion files: take from a video, plot, draw on a portrait.")
MotionFile = Annotated[Path, typer.Argument(metavar="FILE", help="The motion, a .safetensors file.")]


@app.command()
def extract(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video of a person.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.safetensors", help="The motion file to write.")
    ],
    fps: Annotated[str | None, typer.Option(help="Frames per second, such as 25 or 29.97; the video's own.")] = None,
    model: options.Model = "embedded",
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Take the motion of the largest face from a video."""
    from kptalk.files import MOTION_SUFFIX, check_writable
    from kptalk.pipeline import video_motion

    check_writable(output, MOTION_SUFFIX, overwrite)
    try:
        with console.progress_bars(quiet) as on_progress:
            found = video_motion(video, parse_fps(fps) if fps else None, model, device)
            motion = found.read(on_progress=lambda done, total: on_progress("motion", done, total))
            motion.save(output)
    except KeyboardInterrupt:
        console.say("stopped", "nothing was written")
        raise typer.Exit(console.INTERRUPTED) from None
    if not quiet:
        console.output.print(f"{output}  ({len(motion)} frames at {float(found.fps):g} fps)")


@app.command()
def show(
    motion: MotionFile,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.png", help="The plot to write.")],
    model: options.Model = "embedded",
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Plot the tracks of a motion: head rotation, scale, place, lips and lids."""
    from kptalk.files import check_writable
    from kptalk.methods.facemesh import load_space
    from kptalk.motion.plot import PLOT_SUFFIX, plot_motion
    from kptalk.types import Motion
    from kptalk.weights.model import open_model

    check_writable(output, PLOT_SUFFIX, overwrite)
    folder = open_model(model)
    plot_motion(Motion.load(motion), load_space(open_model("embedded") if folder.official else folder), output)
    if not quiet:
        console.output.print(str(output))


@app.command()
def render(
    portrait: options.Portrait,
    motion: MotionFile,
    output: options.Video,
    speech: Annotated[Path | None, typer.Option(help="The sound, cut or filled up to the motion's length.")] = None,
    mode: options.Mode = "absolute",
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
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Draw a motion on a portrait."""
    command = console.Command(output, model, device, precision, overwrite, quiet)
    command.check()
    how = options.reenact_options(mode, region, fps, size, framing, stitch, rotate)
    from kptalk.types import Motion

    driver = Motion.load(motion)
    command.run(lambda pipeline, _: pipeline.reenact(portrait, driver, speech, face=face, options=how))
