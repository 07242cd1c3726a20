"""``kptalk animate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kptalk.cli import console, options
from kptalk.cli.text import speech_of
from kptalk.cli.video import VideoCommand

if TYPE_CHECKING:
    from kptalk.job import Animation
    from kptalk.pipeline import Pipeline


SPEAKING = options.Speaking()


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
    speaking: options.Speaking = SPEAKING,
) -> None:
    """Make a talking video from one photo and one recording."""
    how = speaking.parsed()
    control = how.control
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
            return pipeline.animate(portrait, sound, face=speaking.face, options=how.changed(pose=driver, style=person))

    command.run(make, {"portrait": portrait, "speech": speech})
