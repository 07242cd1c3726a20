"""What the commands print, and where: results on stdout, progress and errors on stderr."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from kptalk.cli import process
from kptalk.cli.options import flag_of
from kptalk.errors import KptalkError, OptionError

if TYPE_CHECKING:
    from kptalk.pipeline import Pipeline


class _Console(Console):
    """A console of which a reader may want only the beginning."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


# File names go through these, so nothing in square brackets or between colons may be taken for markup.
errors = _Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
output = _Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


def say(kind: str, text: str) -> None:
    """One line on stderr: ``kind`` is error or warning."""
    errors.print(f"kptalk: {kind}: {' '.join(text.split())}")


def explain(error: KptalkError) -> str:
    """The library's message, with flags in the place of its names of options."""
    text = _with_flags(str(error))
    if isinstance(error, OptionError):
        text = re.sub(r"^[a-z_]+(?= is )", lambda name: flag_of(name[0]), text)
    return f"{text} ({flag_of(error.option)})" if error.option else text


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one such line, in the place of ``warnings.showwarning``."""
    say("warning", _with_flags(str(message)))


def _with_flags(text: str) -> str:
    """``framing="crop"``, as Python has it, becomes ``--framing crop``."""
    return re.sub(r'\b([a-z_]+)="([a-z]+)"', lambda found: f"{flag_of(found[1])} {found[2]}", text)


@contextmanager
def loading() -> Iterator[None]:
    """A spinner on a terminal while libraries are imported."""
    if not errors.is_terminal:
        yield
        return
    with errors.status("loading"):
        yield


class _Bar(BarColumn):
    """A bar, for stages that count frames."""

    def render(self, task: Task) -> Any:
        return super().render(task) if task.fields["counts"] else Text("")


class _Numbers(ProgressColumn):
    """Frames, frames per second and the time left, as far as they are known; at the end the time it took."""

    max_refresh = 0.3

    def render(self, task: Task) -> Text:
        parts = []
        if task.fields["counts"]:
            known = task.total is not None
            parts.append(f"{task.completed:.0f}/{task.total:.0f} frames" if known else f"{task.completed:.0f} frames")
        if task.finished:
            parts.append(f"{task.finished_time or 0:.1f} s")
        elif task.speed:
            parts.append(f"{task.speed:.0f} per second")
            if (left := task.time_remaining) is not None:
                parts.append(f"{left // 60:.0f}:{left % 60:02.0f} left")
        return Text(", ".join(parts))


class Stages:
    """A line on stderr for every stage, with a spinner, and with a bar where it counts frames.

    Attributes:
        seconds: how long those took that were entered with ``of``; they do not overlap.
    """

    def __init__(self, bars: Progress) -> None:
        self._bars, self._tasks = bars, dict[str, TaskID]()
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """A stage that counts frames has done some of them, of so many in all if that is known."""
        task = self._task(stage, counts=True)
        self._bars.update(task, completed=done, total=None if total is None else max(total, done))

    @contextmanager
    def spinner(self, text: str) -> Iterator[None]:
        """A line for work that counts nothing."""
        task = self._task(text)
        yield
        self._bars.update(task, completed=1, total=1)

    @contextmanager
    def of(self, stage: str, since: float | None = None) -> Iterator[None]:
        """Take the time of a stage, from ``since`` if it has begun before."""
        began = perf_counter() if since is None else since
        yield
        self.seconds[stage] = perf_counter() - began

    def summary(self) -> str:
        """The stages' times, which add up to that of the whole command."""
        return ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.seconds.items() if seconds >= 0.05)

    def _task(self, stage: str, counts: bool = False) -> TaskID:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=None, counts=counts)
        return self._tasks[stage]


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Stages]:
    """The stages on stderr, if that is a terminal."""
    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}", table_column=Column(min_width=18)),
        _Bar(bar_width=24),
        _Numbers(),
    )
    with Progress(*columns, console=errors, disable=quiet or not errors.is_terminal) as bars:
        yield Stages(bars)


@contextmanager
def counting(quiet: bool) -> Iterator[Callable[[int, int, str, int], None]]:
    """One line on stderr, if that is a terminal: how many of how many, a text, frames a second, and the time left."""
    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), _Left())
    with Progress(*columns, console=errors, disable=quiet or not errors.is_terminal) as bars:
        task, began = bars.add_task("starting workers", total=None), perf_counter()

        def show(done: int, total: int, text: str, frames: int) -> None:
            rate = frames / max(perf_counter() - began, 1e-3)
            bars.update(task, completed=done, total=total, description=f"{done}/{total} {text}, {rate:.0f} frames/s")

        yield show


class _Left(ProgressColumn):
    """The time left, where it is known."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        return Text("" if left is None or task.finished else f"{left // 60:.0f}:{left % 60:02.0f} left")


def load_pipeline(model: str, device: str, precision: str, stages: Stages) -> "Pipeline":
    """Load a model, with as many threads of torch as suit a program that is alone in its process."""
    with stages.of("loading", since=process.began()), stages.spinner("loading the model"):
        from kptalk.device import set_threads
        from kptalk.pipeline import Pipeline

        set_threads()
        return Pipeline.from_pretrained(model, device, precision)  # type: ignore[arg-type]  # it checks
