"""What the commands print, and where: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from kptalk.files import MOTION_SUFFIX, VIDEO_SUFFIX, check_writable, kept_partial

if TYPE_CHECKING:
    from kptalk.job import Animation
    from kptalk.pipeline import Pipeline

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
LOADING = "loading the model"
OnProgress = Callable[[str, int, int | None], None]  # stage, done, in all if known

# File names go through these, so nothing in square brackets or between colons may be taken for markup.
errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
output = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


def say(kind: str, text: str) -> None:
    """One line on stderr: ``kind`` is error, warning or stopped."""
    errors.print(f"kptalk: {kind}: {' '.join(text.split())}")


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one such line, in the place of ``warnings.showwarning``."""
    say("warning", str(message))


@contextmanager
def interruptible(video: Path) -> Iterator[None]:
    """On Ctrl-C says what there is of a video, and ends the program."""
    try:
        yield
    except KeyboardInterrupt:
        partial = kept_partial(video)
        say("stopped", f"partial video kept in {partial}" if partial else "nothing was written")
        raise typer.Exit(INTERRUPTED) from None


def load_pipeline(model: str, device: str, precision: str, on_progress: OnProgress) -> Pipeline:
    """Load a model, with as many threads of torch as suit a program that is alone in its process."""
    on_progress(LOADING, 0, 1)
    from kptalk.device import set_threads
    from kptalk.pipeline import Pipeline

    set_threads()
    pipeline = Pipeline.from_pretrained(model, device, precision)  # type: ignore[arg-type]  # it checks
    on_progress(LOADING, 1, 1)
    return pipeline


@dataclass(frozen=True)
class Command:
    """Arguments that all commands share that make a video."""

    output: Path
    model: str
    device: str
    precision: str
    overwrite: bool
    quiet: bool
    save_motion: Path | None = None

    def run(self, make: Callable[[Pipeline, OnProgress], Animation]) -> None:
        """Load the model, let ``make`` begin the video, write it, and print what took how long."""
        started = time.perf_counter()
        with interruptible(self.output), progress_bars(self.quiet) as on_progress:
            pipeline = load_pipeline(self.model, self.device, self.precision, on_progress)
            loaded = time.perf_counter() - started
            animation = make(pipeline, on_progress)
            animation.save(self.output, overwrite=self.overwrite, save_motion=self.save_motion, on_progress=on_progress)
        if not self.quiet:
            seconds = {"loading": loaded, **animation.seconds}
            spent = ", ".join(f"{stage} {value:.1f} s" for stage, value in seconds.items())
            output.print(f"{self.output}  ({spent}; {time.perf_counter() - started:.1f} s in all)")

    def check(self) -> None:
        """Make sure that the outputs can be written, before any work is done."""
        check_writable(self.output, VIDEO_SUFFIX, self.overwrite)
        if self.save_motion:
            check_writable(self.save_motion, MOTION_SUFFIX, self.overwrite)


@contextmanager
def progress_bars(quiet: bool) -> Iterator[OnProgress]:
    """A progress bar for every stage, on stderr; frames per second and the time left."""
    columns = (
        TextColumn("{task.description:>18}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, disable=quiet or not errors.is_terminal) as bars:
        tasks = {}

        def on_progress(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, rate="")
            speed = bars.tasks[tasks[stage]].speed
            rate = f"{speed:.0f} frames/s" if speed and stage != LOADING else ""
            bars.update(tasks[stage], completed=done, total=None if total is None else max(total, done), rate=rate)

        yield on_progress
