"""``kptalk train``."""

from pathlib import Path
from typing import Annotated

import typer

from kptalk.cli import options
from kptalk.cli.console import loading, output
from kptalk.train import CONFIGS, NAMES


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
        options.flag("Of a2l, vae and l2v: 'smoke', 'embedded' or 'paper'.", group="Training", words=CONFIGS),
    ] = "embedded",
    steps: Annotated[
        int | None, options.flag("Optimiser steps; each recipe has its own default.", group="Training")
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

    def show(done: int, total: int, row: dict[str, float]) -> None:
        numbers = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if key != "step")
        output.print(f"{name} {done}/{total}  {numbers}")

    path = train_network(
        name, data, folder, config=config, steps=steps, seed=seed, minutes=minutes, device=device, on_progress=show
    )
    output.print(f"weights are in {path}")
