"""``kptalk models``."""

from typing import Annotated

import typer
from rich.table import Table

from kptalk.cli import console
from kptalk.cli.options import MODELS, completing


def models(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Show the files of this one: a name, or a model folder.",
            autocompletion=completing(MODELS),
        ),
    ] = None,
) -> None:
    """List the models with size and licence, or the files of one."""
    from kptalk.weights.model import NAMES, open_model

    if model is not None:
        _files(model)
        return
    table = Table("model", "method", "MB", "here", "licence", box=None, pad_edge=False)
    for name in NAMES:
        found = open_model(name)
        here = "no" if found.missing() else "yes"
        table.add_row(name, found.method, f"{found.size() / 1e6:.1f}", here, found.card.licence)
    console.output.print(table)


def _files(name: str) -> None:
    """One row for every file; of the official ones, evaluation's too, also who may use it for what."""
    from kptalk.weights.model import open_model
    from kptalk.weights.registry import ENTRIES

    model = open_model(name)
    console.output.print(f"{model.path}: {model.method}, {model.card.licence}")
    table = Table("file", "MB", "here", "commercial", "licence", box=None, pad_edge=False)
    shown = model.card.files | ({key: entry.converted for key, entry in ENTRIES.items()} if model.official else {})
    for key, file in shown.items():
        path, entry = model.path / file, ENTRIES.get(key) if model.official else None
        size = f"{path.stat().st_size / 1e6:.1f}" if path.is_file() else ""
        allowed = "" if entry is None else "allowed" if entry.commercial else "no"
        table.add_row(key, size, "yes" if path.is_file() else "no", allowed, entry.licence if entry else "")
    console.output.print(table)
