"""``kptalk weights``: pull, convert and verify the official files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kptalk.cli import options, process
from kptalk.cli.console import errors, output, say
from kptalk.errors import WeightsError

if TYPE_CHECKING:
    from kptalk.weights.official import Outcome

UNFINISHED = "the same command goes on"
NAMES_HELP = "Names that 'kptalk models official' shows, or the sets 'official' and 'evaluate'."


def _offered(incomplete: str) -> list[str]:
    from kptalk.weights.registry import ENTRIES

    return [name for name in ("official", "evaluate", *ENTRIES) if name.startswith(incomplete)]


Names = Annotated[list[str] | None, typer.Argument(metavar="NAMES...", help=NAMES_HELP, autocompletion=_offered)]
app = typer.Typer(no_args_is_help=True, help="The official weights: pull, convert, verify.")


@app.command(cls=options.Grouped)
def pull(
    names: Names = None,
    accept_licence: Annotated[
        bool, options.flag("I have read the licences and accept them; needed once.", "--accept-licence", group="Other")
    ] = False,
) -> None:
    """Download, check and convert; without names the set 'official'. HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE count."""
    from kptalk.weights import official
    from kptalk.weights.registry import converted_path

    entries = official.chosen(names or ["official"])
    for entry in entries:
        use = "commercial use allowed" if entry.commercial else "no commercial use"
        errors.print(f"{entry.name}: {entry.licence}; {use}; {entry.source}")
    licences = official.unaccepted(entry for entry in entries if not converted_path(entry).is_file())
    if licences and not accept_licence:
        raise WeightsError(f"read these licences, then run again with --accept-licence: {'; '.join(licences)}")
    with process.outcome(lambda: UNFINISHED):
        _report(official.pull(names or ["official"], accept_licence))


@app.command(cls=options.Grouped)
def convert(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="An official file, or a folder that holds some.")],
) -> None:
    """Convert your own copies of official files; they are known by their file names."""
    from kptalk.weights import official

    with process.outcome(lambda: UNFINISHED):
        _report(official.convert(path))


@app.command(cls=options.Grouped)
def verify(names: Names = None) -> None:
    """Compare SHA-256 digests with the lock file and load every file strictly; without names all that are here."""
    from kptalk.weights import official

    if not _report(official.verify(names or [])):
        output.print("no official weights found: run kptalk weights pull")


def _report(outcomes: Iterable[Outcome]) -> int:
    """Print each outcome as it comes; their number. Exits with 1 if one is not ok."""
    count, ok = 0, True
    for outcome in outcomes:
        count += 1
        ok &= outcome.ok
        if outcome.ok:
            output.print(f"{outcome.name}: {outcome.detail}")
        else:
            say("error", f"{outcome.name}: {outcome.detail}")
    if not ok:
        raise typer.Exit(process.FAILED)
    return count
