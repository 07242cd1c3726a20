"""``kptalk train``."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kptalk.cli import options, process
from kptalk.cli.console import errors, loading, output
from kptalk.train import CONFIGS, NAMES

if TYPE_CHECKING:
    from kptalk.train.loop import Pace, Progress


def train(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help=f"One of {', '.join(NAMES)}.", autocompletion=options.completing(NAMES)),
    ],
    data: Annotated[
        Path, options.flag("Dataset that 'kptalk prepare' made, or file of packed clips.", group="Training")
    ],
    folder: Annotated[Path, options.flag("Model folder: weights, logs and checkpoints.", "--output", "-o")],
    config: Annotated[
        str,
        options.flag("'smoke', 'embedded', 'paper', or a TOML file.", group="Training", words=CONFIGS),
    ] = "embedded",
    changes: Annotated[
        list[str] | None,
        options.flag("Change a config's field; may be repeated.", "--set", group="Training", metavar="FIELD=VALUE"),
    ] = None,
    steps: Annotated[
        int | None, options.flag("Optimiser steps; each config has its own number.", group="Training")
    ] = None,
    seed: Annotated[int, options.flag("Fixes the batches and the initial weights.", group="Training")] = 0,
    minutes: Annotated[
        float, options.flag("Stop after this long; the same command resumes. 0: no limit.", group="Training")
    ] = 0,
    device: options.Device = "auto",
) -> None:
    """Train a network on a dataset; after an interruption, the same command resumes."""
    with loading():
        from kptalk.device import set_threads
        from kptalk.train.recipes import train_network

    set_threads()

    def kept() -> str:
        resumes = f"the same command resumes from the last checkpoint in {folder}"
        return resumes if any(folder.glob("*.log/state.pt")) else process.NOTHING

    with process.outcome(kept), training_line(name) as (show, pace):
        path = train_network(
            name,
            data,
            folder,
            config=config,
            changes=changes or (),
            steps=steps,
            seed=seed,
            minutes=minutes,
            device=device,
            on_progress=show,
            on_pace=pace,
        )
    if is_main_process():
        output.print(f"weights are in {path}")


@contextmanager
def training_line(name: str) -> Iterator[tuple["Progress", "Pace"]]:
    """What prints a row of the log, and what keeps a line with speed and time left up to date, on a terminal."""
    remaining = ""
    with errors.status(name) if errors.is_terminal else nullcontext() as status:

        def show(done: int, total: int, row: dict[str, float]) -> None:
            numbers = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if key != "step")
            output.print(f"{name} {done}/{total}  {numbers}{remaining}")

        def pace(done: int, total: int, speed: float, left: float) -> None:
            nonlocal remaining
            remaining = f"  {duration(left)} left"
            if status:
                status.update(f"{name} {done}/{total}  {speed:.1f} samples/s{remaining}")

        yield show, pace


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def is_main_process() -> bool:
    """Whether this process speaks for those that a launcher started."""
    return os.environ.get("RANK", "0") == "0"
