"""What the commands print, and where: results on stdout, progress and errors on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130

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
        from kptalk.media.encoder import partial_path

        partial = partial_path(video)
        say("stopped", f"what was done so far is in {partial}" if partial.exists() else "nothing was written")
        raise typer.Exit(INTERRUPTED) from None


def report(path: Path, seconds: dict[str, float], total: float) -> None:
    """Where the video is and what took how long; drawing and encoding run side by side, so the parts exceed the sum."""
    spent = ", ".join(f"{stage} {value:.1f} s" for stage, value in seconds.items())
    output.print(f"{path}  ({spent}; {total:.1f} s in all)")


@contextmanager
def stages(quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar for every stage, on stderr; frames a second and the time left."""
    columns = (
        TextColumn("{task.description:>18}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, disable=quiet or not errors.is_terminal) as bars:
        tasks = {}

        def tell(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, rate="")
            speed = bars.tasks[tasks[stage]].speed
            rate = f"{speed:.0f} frames/s" if speed and stage != "loading the models" else ""
            bars.update(tasks[stage], completed=done, total=None if total is None else max(total, done), rate=rate)

        yield tell
