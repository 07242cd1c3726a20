"""``kptalk ablate``."""

from pathlib import Path
from typing import Annotated

from kptalk.cli import options, process
from kptalk.cli.console import loading, output
from kptalk.cli.train import training_line
from kptalk.errors import OptionError
from kptalk.train import CONFIGS


def ablate(
    data: Annotated[Path, options.flag("Dataset that 'kptalk prepare' made.", group="Training")],
    folder: Annotated[Path, options.flag("Folder for weights, results.csv and page.", "--output", "-o")],
    tables: Annotated[str, options.flag("Which of the paper's tables.", group="Training")] = "3,4,5,6,7",
    config: Annotated[
        str, options.flag("'smoke', 'embedded', 'paper', or a TOML file.", group="Training", words=CONFIGS)
    ] = "embedded",
    changes: Annotated[
        list[str] | None,
        options.flag("Change a config's field; may be repeated.", "--set", group="Training", metavar="FIELD=VALUE"),
    ] = None,
    seeds: Annotated[int, options.flag("Trainings of every variant, for the intervals.", group="Training")] = 3,
    model: Annotated[
        str, options.flag("Model whose audio encoder is used.", group="Model", words=options.MODELS)
    ] = "embedded",
    device: options.Device = "auto",
) -> None:
    """Train and measure the variants of the paper's ablations; after an interruption, the same command goes on."""
    with loading():
        from kptalk.device import set_threads
        from kptalk.train.ablate import ablate as run

    set_threads()
    try:
        numbers = [int(number) for number in tables.split(",")]
    except ValueError as error:
        raise OptionError(f"tables is {tables}: give numbers such as 3,4") from error
    unfinished = f"the same command goes on, {folder} is not finished"
    with process.outcome(lambda: unfinished), training_line("ablation") as (_, pace):
        page = run(
            data,
            folder,
            tables=numbers,
            config=config,
            changes=changes or (),
            seeds=seeds,
            model=model,
            device=device,
            notice=output.print,
            on_pace=pace,
        )
    output.print(page.read_text(encoding="utf-8"))
