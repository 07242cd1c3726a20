"""What the commands share that make a video: their options, the checks before any work, and the work."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kptalk.cli import console, options, process
from kptalk.cli.credentials import SignCert, SignKey, signer_of
from kptalk.errors import AudioError, ImageError, InputError, MotionError
from kptalk.files import MOTION_SUFFIX, VIDEO_SUFFIX, check_readable, check_writable, kept_partial, sha256
from kptalk.options import ReenactOptions

if TYPE_CHECKING:
    from kptalk.job import Animation
    from kptalk.pipeline import Pipeline
    from kptalk.types import Motion

STAGES = ("motion", "drawing", "encoding")  # of writing a video; they overlap


@dataclass(frozen=True)
class VideoCommand:
    """Options of all commands that make a video."""

    output: options.Video
    save_motion: options.SaveMotion = None
    overwrite: options.Overwrite = False
    sign_cert: SignCert = None
    sign_key: SignKey = None
    model: options.Model = "embedded"
    device: options.Device = "auto"
    precision: options.Precision = "auto"
    quiet: options.Quiet = False

    def check(
        self,
        portrait: Path,
        *,
        speech: Path | None = None,
        videos: Iterable[Path | None] = (),
        motion: Path | None = None,
    ) -> None:
        """Find out what cannot be, before anything that takes long is imported or computed.

        Raises:
            KptalkError: an output cannot be written, or a file or the model is not there.
        """
        check_writable(self.output, VIDEO_SUFFIX, self.overwrite)
        if self.save_motion:
            check_writable(self.save_motion, MOTION_SUFFIX, self.overwrite)
        check_readable(portrait, "a photo", ImageError)
        if speech:
            check_readable(speech, "a recording", AudioError)
        for video in filter(None, videos):
            check_readable(video, "a video")
        if motion:
            check_readable(motion, "a motion file", MotionError)
        if self.model not in options.MODELS:
            from kptalk.weights.model import open_model

            open_model(self.model)

    def run(self, make: Callable[["Pipeline", console.Stages], "Animation"], inputs: Mapping[str, Path | None]) -> None:
        """Load the model, let ``make`` begin the video, write it, and print what took how long.

        ``inputs`` are the files that the video is made from, which signed credentials name.
        """
        signer = signer_of(self.sign_cert, self.sign_key)
        with process.outcome(self._outcome), console.progress_bars(self.quiet) as stages:
            pipeline = console.load_pipeline(self.model, self.device, self.precision, stages)
            animation = make(pipeline, stages)
            with ExitStack() as finishing, stages.of("video"):

                def on_progress(stage: str, done: int, total: int | None) -> None:
                    stages(stage, done, total)
                    if stage == "encoding" and done == total:
                        finishing.enter_context(stages.spinner("finishing the file"))

                stages("motion", 0, None)
                animation.save(
                    self.output,
                    overwrite=self.overwrite,
                    save_motion=self.save_motion,
                    on_progress=on_progress,
                    sign=partial(signer.sign, ingredients=digests_of(inputs)) if signer else None,
                )
        if not self.quiet:
            motion, drawing, encoding = (f"{stage} {animation.seconds[stage]:.1f} s" for stage in STAGES)
            spent = f"{stages.summary()} with {motion}, {drawing} and {encoding} side by side"
            in_all = f"{time.perf_counter() - process.began():.1f} s in all"
            console.output.print(f"{self.output}  ({spent}; {in_all})")

    def _outcome(self) -> str:
        partial = kept_partial(self.output)
        return f"partial video kept in {partial}" if partial else process.NOTHING


def digests_of(inputs: Mapping[str, Path | None]) -> dict[str, str]:
    """The SHA-256 of those that are files."""
    return {name: sha256(path, InputError) for name, path in inputs.items() if path is not None}


def drive(
    command: VideoCommand,
    driving: options.Driving,
    how: ReenactOptions,
    portrait: Path,
    path: Path,
    driver: "Path | Motion",
) -> None:
    """What ``reenact`` and ``motion render`` do once their arguments are checked; ``path`` is the driver's file."""

    def make(pipeline: "Pipeline", stages: console.Stages) -> "Animation":
        with stages.of("portrait"), stages.spinner("finding the face"):
            return pipeline.reenact(portrait, driver, driving.speech, face=driving.face, options=how)

    command.run(make, {"portrait": portrait, "driver": path, "speech": driving.speech})
