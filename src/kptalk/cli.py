"""The command line: parse and print, nothing else."""

from __future__ import annotations

import io
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from kptalk.errors import InputError, KptalkError, OptionError
from kptalk.version import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="One portrait and one speech recording become a talking video.",
)
# File names go through these, so nothing in square brackets or between colons may be taken for markup.
_errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
_output = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
HEADLESS = (
    "OpenCV with windows needs that from the system, the headless one does not: "
    "pip uninstall -y opencv-contrib-python && pip install opencv-contrib-python-headless==4.11.0.86"
)


def main() -> None:
    """Run the command line; errors become one line on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names that the terminal cannot show
    warnings.showwarning = _show_warning
    warnings.simplefilter("ignore")  # what libraries tell programmers
    warnings.filterwarnings("always", module=r"kptalk\.")
    try:
        sys.exit(app(standalone_mode=False))  # None, or the code of a typer.Exit
    except KptalkError as error:
        _say("error", str(error))
        sys.exit(BAD_INPUT if isinstance(error, InputError) else FAILED)
    except (KeyboardInterrupt, typer.Abort):
        _say("stopped", "by Ctrl-C")
        sys.exit(INTERRUPTED)
    except ImportError as error:
        if "shared object" not in str(error):
            raise
        _say("error", f"{error}; {HEADLESS}")
        sys.exit(FAILED)
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of the parser; empty where it has shown the help
            if text := error.format_message():
                _say("error", text)
            sys.exit(BAD_INPUT)
        raise


def _show_version(wanted: bool) -> None:
    if wanted:
        _output.print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None: ...


@app.command()
def animate(
    portrait: Annotated[Path, typer.Argument(metavar="PORTRAIT", help="The photo: any image file.")],
    speech: Annotated[
        Path, typer.Argument(metavar="SPEECH", help="The recording: any sound file, or a video with sound.")
    ],
    output: Annotated[Path, typer.Option("--output-file", "-o", help="The video to write, an .mp4 file.")],
    weights: Annotated[str, typer.Option(help="'embedded', or a folder that 'kptalk train' filled.")] = "embedded",
    steps: Annotated[int | None, typer.Option(help="Denoising steps; the weights know a good number.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes the head's motion: same seed, same bytes.")] = 0,
    fps: Annotated[str, typer.Option(help="Frames a second, such as 25, 29.97 or 30000/1001.")] = "25",
    size: Annotated[int | None, typer.Option(help="Longest side in pixels: photo's own up to 1280; crop 512.")] = None,
    show: Annotated[
        str, typer.Option("--output", help="'full': the whole photo; 'crop': the square round the face.")
    ] = "full",
    face: Annotated[int | None, typer.Option(help="Which of several faces, 1 is the leftmost.")] = None,
    pose: Annotated[str, typer.Option(help="'auto', 'still', a motion file or a video to take it from.")] = "auto",
    pose_scale: Annotated[float, typer.Option(help="Size of the head's movement.")] = 1.0,
    yaw: Annotated[float, typer.Option(help="Degrees to turn the head by.")] = 0.0,
    pitch: Annotated[float, typer.Option(help="Degrees to nod the head by.")] = 0.0,
    roll: Annotated[float, typer.Option(help="Degrees to tilt the head by.")] = 0.0,
    mouth_scale: Annotated[float, typer.Option(help="Size of the mouth's movement.")] = 1.0,
    expression_scale: Annotated[float, typer.Option(help="Size of the rest of the face's movement.")] = 1.0,
    blink: Annotated[str, typer.Option(help="'auto', 'off', or blinks a minute.")] = "auto",
    device: Annotated[str, typer.Option(help="'auto', 'cpu', 'cuda' or 'mps'.")] = "auto",
    save_motion: Annotated[Path | None, typer.Option(help="Also write the motion, a .safetensors file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but warnings and errors.")] = False,
) -> None:
    """Make a talking video from one photo and one recording."""
    started = time.perf_counter()
    from kptalk.media.audio import Speech
    from kptalk.media.video import check_output, partial_path
    from kptalk.motion.control import BLINKS_A_MINUTE, Control
    from kptalk.pipeline import Options, Pipeline, check_motion_output

    check_output(output, overwrite)
    if save_motion:
        check_motion_output(save_motion, overwrite)
    rates = {"auto": BLINKS_A_MINUTE, "off": 0.0}
    blinks = rates[blink] if blink in rates else _number(blink, "blink", "auto, off or blinks a minute")
    control = Control(
        pose_scale=pose_scale,
        mouth_scale=mouth_scale,
        expression_scale=expression_scale,
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        blinks=blinks,
    )
    options = Options(fps=_fps(fps), seed=seed, size=size, output=show, steps=steps, control=control)
    try:
        with _stages(quiet) as tell:
            tell("loading the models", 0, 1)
            pipeline = Pipeline.from_pretrained(weights, device)
            tell("loading the models", 1, 1)
            loaded = time.perf_counter()
            sound = Speech.open(speech)
            driver = pose if pose in ("auto", "still") else pipeline.read_pose(pose, sound.duration_hint, tell)
            options = replace(options, control=replace(control, pose=driver))
            animation = pipeline.animate(portrait, sound, face=face, options=options)
            animation.save(output, overwrite=overwrite, save_motion=save_motion, progress=tell)
    except KeyboardInterrupt:
        partial = partial_path(output)
        _say("stopped", f"what was done so far is in {partial}" if partial.exists() else "nothing was written")
        raise typer.Exit(INTERRUPTED) from None
    if not quiet:
        _report(output, {"loading": loaded - started, **animation.seconds}, time.perf_counter() - started)


@app.command()
def doctor() -> None:
    """Print versions, device and threads, check the embedded weights, and draw one second."""
    from kptalk.doctor import examine

    sound = True
    for finding in examine():
        _output.print(f"{'ok ' if finding.good else 'BAD'}  {finding.what}: {finding.detail}")
        sound &= finding.good
    if not sound:
        raise typer.Exit(FAILED)


@app.command()
def prepare(
    videos: Annotated[
        list[Path], typer.Argument(metavar="VIDEOS...", help="Videos of one talking person each, or folders of them.")
    ],
    output: Annotated[Path, typer.Option("--output-file", "-o", help="Folder for the training shards.")],
    people: Annotated[
        Path | None, typer.Option(help="CSV with the columns file and identity; without it every video is a person.")
    ] = None,
) -> None:
    """Make training shards of videos; every video that is left out is named with the reason."""
    from kptalk.train.prepare import prepare_videos

    kept = 0
    for path, reason in prepare_videos(videos, output, people):
        kept += reason is None
        if reason is not None:
            _output.print(f"left out {path}: {reason}")
    _output.print(f"{kept} clips are in {output}")
    if not kept:
        raise typer.Exit(BAD_INPUT)


@app.command()
def train(
    name: Annotated[str, typer.Argument(metavar="NAME", help="'facemesh', 'audio' or 'motion', in this order.")],
    data: Annotated[Path, typer.Option(help="Folder that 'kptalk prepare' filled.")],
    output: Annotated[Path, typer.Option("--output-file", "-o", help="Folder for the weights; use with --weights.")],
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; each network has a good number.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes the batches and the first weights.")] = 0,
    minutes: Annotated[float, typer.Option(help="Stop after this long; the same command goes on. 0: no limit.")] = 0,
    device: Annotated[str, typer.Option(help="'auto', 'cpu', 'cuda' or 'mps'.")] = "auto",
) -> None:
    """Train a network on shards; stopped at any time, the same command goes on."""
    from kptalk.train.run import train_network

    def tell(done: int, total: int, row: dict[str, float]) -> None:
        numbers = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if key != "step")
        _output.print(f"{name} {done}/{total}  {numbers}")

    path = train_network(name, data, output, steps=steps, seed=seed, minutes=minutes, device=device, progress=tell)
    _output.print(f"weights are in {path}")


@contextmanager
def _stages(quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar for every stage, on stderr; frames a second and the time left."""
    columns = (
        TextColumn("{task.description:>18}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_errors, disable=quiet or not _errors.is_terminal) as bars:
        tasks = {}

        def tell(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, rate="")
            speed = bars.tasks[tasks[stage]].speed
            rate = f"{speed:.0f} frames/s" if speed and stage != "loading the models" else ""
            bars.update(tasks[stage], completed=done, total=None if total is None else max(total, done), rate=rate)

        yield tell


def _fps(text: str) -> Fraction:
    """A frame rate as users write it: 29.97 means 30000/1001."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise OptionError(f"fps is {text!r}: give a number such as 25, 29.97 or 30000/1001") from None
    broadcast = round(rate * Fraction(1001, 1000))
    ntsc = Fraction(broadcast * 1000, 1001)
    return ntsc if rate.denominator != 1 and abs(rate - ntsc) < Fraction(1, 100) else rate


def _number(text: str, name: str, wanted: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"{name} is {text!r}: give {wanted}") from None


def _report(path: Path, seconds: dict[str, float], total: float) -> None:
    """Where the video is and what took how long; drawing and encoding run side by side, so the parts exceed the sum."""
    spent = ", ".join(f"{stage} {value:.1f} s" for stage, value in seconds.items())
    _output.print(f"{path}  ({spent}; {total:.1f} s in all)")


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _say("warning", str(message))


def _say(kind: str, text: str) -> None:
    _errors.print(f"kptalk: {kind}: {' '.join(text.split())}")


if __name__ == "__main__":
    main()
