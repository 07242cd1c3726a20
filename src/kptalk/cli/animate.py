"""``kptalk animate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kptalk.cli import console, options
from kptalk.options import Control, Options, parse_fps

if TYPE_CHECKING:
    from kptalk.job import Animation
    from kptalk.pipeline import Pipeline


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
    rotate: options.Rotate = "auto",
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
    command = console.Command(output, model, device, precision, overwrite, quiet, save_motion)
    command.check()
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
    how = Options(seed=seed, fps=parse_fps(fps), steps=steps, control=control)
    how = how.changed(size=size, framing=framing, stitch=stitch, rotate=rotate)

    def make(pipeline: Pipeline, on_progress: console.OnProgress) -> Animation:
        from kptalk.media.audio import Speech

        sound, path = Speech.open(speech), control.pose_file
        driver = control.pose if path is None else pipeline.read_pose(path, sound.duration_hint, on_progress)
        return pipeline.animate(portrait, sound, face=face, options=how.changed(pose=driver))

    command.run(make)
