"""``kptalk animate``."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from kptalk.cli import console as cli
from kptalk.cli import options as flags
from kptalk.errors import OptionError


def animate(
    portrait: flags.Portrait,
    speech: Annotated[
        Path, typer.Argument(metavar="SPEECH", help="The recording: any sound file, or a video with sound.")
    ],
    output: flags.Video,
    weights: flags.Weights = "embedded",
    renderer: flags.Renderer = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps; the weights know a good number.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes the head's motion: same seed, same bytes.")] = 0,
    fps: Annotated[str, typer.Option(help="Frames a second, such as 25, 29.97 or 30000/1001.")] = "25",
    size: flags.Size = None,
    show: flags.Show = "full",
    stitch: flags.Stitch = None,
    face: flags.FaceNumber = None,
    pose: Annotated[str, typer.Option(help="'auto', 'still', a motion file or a video to take it from.")] = "auto",
    pose_scale: Annotated[float, typer.Option(help="Size of the head's movement.")] = 1.0,
    yaw: Annotated[float, typer.Option(help="Degrees to turn the head by.")] = 0.0,
    pitch: Annotated[float, typer.Option(help="Degrees to nod the head by.")] = 0.0,
    roll: Annotated[float, typer.Option(help="Degrees to tilt the head by.")] = 0.0,
    mouth_scale: Annotated[float, typer.Option(help="Size of the mouth's movement.")] = 1.0,
    expression_scale: Annotated[float, typer.Option(help="Size of the rest of the face's movement.")] = 1.0,
    blink: Annotated[str, typer.Option(help="'auto', 'off', or blinks a minute.")] = "auto",
    device: flags.Device = "auto",
    save_motion: flags.SaveMotion = None,
    overwrite: flags.Overwrite = False,
    quiet: flags.Quiet = False,
) -> None:
    """Make a talking video from one photo and one recording."""
    started = time.perf_counter()
    from kptalk.job import MOTION_SUFFIX, check_file_output
    from kptalk.media.audio import Speech
    from kptalk.media.encoder import check_output
    from kptalk.motion.control import Control
    from kptalk.pipeline import Options, Pipeline

    check_output(output, overwrite)
    if save_motion:
        check_file_output(save_motion, MOTION_SUFFIX, overwrite)
    rates: dict[str, float | None] = {"auto": None, "off": 0.0}
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
    options = Options(
        fps=frame_rate(fps), seed=seed, size=size, output=show, steps=steps, control=control, stitch=stitch
    )
    with cli.interruptible(output), cli.stages(quiet) as tell:
        tell("loading the models", 0, 1)
        pipeline = Pipeline.from_pretrained(weights, device, renderer)
        tell("loading the models", 1, 1)
        loaded = time.perf_counter()
        sound = Speech.open(speech)
        driver = pose if pose in ("auto", "still") else pipeline.read_pose(pose, sound.duration_hint, tell)
        options = replace(options, control=replace(control, pose=driver))
        animation = pipeline.animate(portrait, sound, face=face, options=options)
        animation.save(output, overwrite=overwrite, save_motion=save_motion, progress=tell)
    if not quiet:
        cli.report(output, {"loading": loaded - started, **animation.seconds}, time.perf_counter() - started)


def frame_rate(text: str) -> Fraction:
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
