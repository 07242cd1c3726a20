"""``kptalk reenact``."""

from pathlib import Path
from typing import Annotated

import typer

from kptalk.cli import options
from kptalk.cli.video import VideoCommand, drive


@options.spread
def reenact(
    portrait: options.Portrait,
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="The driver: a video of a person; its sound is kept.")],
    command: VideoCommand,
    driving: options.Driving,
) -> None:
    """Let a portrait move as the person in a video does."""
    how = driving.parsed()
    command.check(portrait, speech=driving.speech, videos=(video,))
    drive(command, driving, how, portrait, video, video)
