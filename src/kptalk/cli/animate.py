"""``kptalk animate``."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from kptalk.cli import console, options
from kptalk.options import Control, Options, parse_fps


def animate(
    portrait: options.Portrait,
    speech: Annotated[
        Path, typer.Argument(metavar="SPEECH", help="The recording: any sound file, or a video with sound.")
    ],
    output: options.Video,
    model: options.Model = "embedded",
    steps: options.Steps = None,
    seed: options.Seed = 0,
    fps: options.Fps = "25",
    size: options.Size = None,
    framing: options.Framing = "full",
    stitch: options.Stitch = None,
    face: options.FaceNumber = None,
    pose: options.Pose = "auto",
    pose_scale: options.PoseScale = 1.0,
    yaw: options.Yaw = 0.0,
    pitch: options.Pitch = 0.0,
    roll: options.Roll = 0.0,
    mouth_scale: options.MouthScale = 1.0,
    expression_scale: options.ExpressionScale = 1.0,
    blinks: options.Blinks = "auto",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    save_motion: options.SaveMotion = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a talking video from one photo and one recording."""
    started = time.perf_counter()
    console.check_outputs(output, save_motion, overwrite)
    control = Control(
        pose=pose,
        pose_scale=pose_scale,
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        mouth_scale=mouth_scale,
        expression_scale=expression_scale,
        blinks=options.parse_blinks(blinks),
    )
    how = Options(
        seed=seed, fps=parse_fps(fps), size=size, framing=framing, steps=steps, stitch=stitch, control=control
    )
    from kptalk.media.audio import Speech

    with console.interruptible(output), console.progress_bars(quiet) as on_progress:
        pipeline = console.load_pipeline(model, device, precision, on_progress)
        loaded = time.perf_counter()
        sound = Speech.open(speech)
        if (path := control.pose_file) is not None:
            driver = pipeline.read_pose(path, sound.duration_hint, on_progress)
            how = replace(how, control=replace(control, pose=driver))
        animation = pipeline.animate(portrait, sound, face=face, options=how)
        animation.save(output, overwrite=overwrite, save_motion=save_motion, on_progress=on_progress)
    if not quiet:
        console.report(output, {"loading": loaded - started, **animation.seconds}, time.perf_counter() - started)
