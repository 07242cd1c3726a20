"""``kptalk animate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kptalk.cli import console, options
from kptalk.cli.text import speech_of
from kptalk.cli.video import VideoCommand
from kptalk.options import Control, Options, parse_fps

if TYPE_CHECKING:
    from kptalk.job import Animation
    from kptalk.pipeline import Pipeline


@options.spread
def animate(
    portrait: options.Portrait,
    command: VideoCommand,
    speech: Annotated[
        Path | None,
        typer.Argument(metavar="SPEECH", help="The recording: any sound file, or a video with sound."),
    ] = None,
    text: options.Text = None,
    text_file: options.TextFile = None,
    tts: options.Tts = None,
    voice: options.Voice = None,
    steps: options.Steps = None,
    seed: options.Seed = 0,
    pose: options.Pose = "auto",
    pose_scale: options.PoseScale = 1.0,
    style: options.Style = "auto",
    liveliness: options.Liveliness = 0.0,
    head_spread: options.HeadSpread = None,
    yaw: options.Yaw = 0.0,
    pitch: options.Pitch = 0.0,
    roll: options.Roll = 0.0,
    mouth_scale: options.MouthScale = 1.0,
    expression_scale: options.ExpressionScale = 1.0,
    blinks: options.Blinks = "auto",
    size: options.Size = None,
    framing: options.Framing = "full",
    stitch: options.Stitch = None,
    fps: options.Fps = "25",
    face: options.FaceNumber = None,
    rotate: options.Rotate = "auto",
    refine: options.Refine = None,
    draw_steps: options.DrawSteps = None,
    guidance: options.Guidance = None,
    watermark: options.Watermark = True,
) -> None:
    """Make a talking video from one photo and one recording."""
    control = Control(
        pose=pose,
        pose_scale=pose_scale,
        style=style,
        liveliness=liveliness,
        head_spread=head_spread,
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        mouth_scale=mouth_scale,
        expression_scale=expression_scale,
        blinks=options.parse_blinks(blinks),
    )
    how = Options(seed=seed, fps=parse_fps(fps), steps=steps, control=control)
    how = how.changed(size=size, framing=framing, stitch=stitch, rotate=rotate)
    how = how.changed(refine=refine, draw_steps=draw_steps, guidance=guidance, watermark=watermark)
    say = speech_of(speech, text, text_file, tts, voice)
    command.check(portrait, speech=speech, videos=(control.pose_file, control.style_file))

    def make(pipeline: "Pipeline", stages: console.Stages) -> "Animation":
        with stages.of("speech"), stages.spinner("reading the speech"):
            sound = say()
        driver, person = control.pose, control.style
        if control.pose_file is not None:
            stages("reading the pose", 0, None)
            with stages.of("pose"):
                driver = pipeline.read_pose(control.pose_file, sound.duration_hint, stages)
        if control.style_file is not None:
            with stages.of("style"), stages.spinner("reading the style"):
                person = pipeline.read_style(control.style_file)
        with stages.of("portrait"), stages.spinner("finding the face"):
            return pipeline.animate(portrait, sound, face=face, options=how.changed(pose=driver, style=person))

    command.run(make, {"portrait": portrait, "speech": speech})
