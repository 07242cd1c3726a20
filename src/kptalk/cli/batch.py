"""``kptalk batch``."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from kptalk.cli import options, process
from kptalk.cli.console import counting, loading, output
from kptalk.cli.credentials import SignCert, SignKey, signer_of
from kptalk.cli.text import KEY
from kptalk.errors import OptionError

SPEAKING = options.Speaking()
COLUMNS = "portrait, speech or text, output, and any option of animate"


@options.spread
def batch(
    folder: Annotated[str, options.flag("Folder of the videos, or an fsspec URL.", "--output", "-o", metavar="DIR")],
    jobs: Annotated[
        Path | None,
        typer.Argument(metavar="JOBS", help=f"Table, .csv, .jsonl or .parquet: {COLUMNS}."),
    ] = None,
    portraits: Annotated[
        str | None, options.flag("In the place of JOBS: photos, each with each of --speeches.", metavar="GLOB")
    ] = None,
    speeches: Annotated[str | None, options.flag("Recordings, with --portraits.", metavar="GLOB")] = None,
    retry: Annotated[bool, options.flag("Try rows again that have failed before.", "--retry")] = False,
    text: options.Text = None,
    text_file: options.TextFile = None,
    tts: options.Tts = None,
    voice: options.Voice = None,
    speaking: options.Speaking = SPEAKING,
    sign_cert: SignCert = None,
    sign_key: SignKey = None,
    model: options.Model = "embedded",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    engine: options.Engine = "local",
    workers: Annotated[
        int | None, options.flag("Workers; without it one a core, or a GPU of the cluster.", "--jobs", group="Other")
    ] = None,
    address: options.Address = None,
    gpus: options.Gpus = None,
    quiet: options.Quiet = False,
) -> None:
    """Make a video of every row of a table; the same command goes on. A row's own options come before these."""
    if (jobs is None) == (portraits is None) or (speeches is not None and portraits is None):
        raise OptionError("give JOBS, or --portraits and --speeches")
    how = speaking.parsed()
    signer = signer_of(sign_cert, sign_key)
    with loading():
        from kptalk.batch import cross, run_batch

    rows = cross(portraits, speeches) if portraits is not None else jobs or Path()
    given = {"text": text, "text_file": text_file, "tts": tts, "voice": voice, "face": speaking.face}
    defaults: dict[str, Any] = given | {"model": model, "precision": precision} | how.to_dict()
    work = run_batch(
        rows,
        folder,
        defaults,
        retry=retry,
        device=device,
        tts_key=os.environ.get(KEY),
        engine=engine,
        workers=workers,
        address=address,
        gpus=gpus,
        signer=signer,
    )
    made = known = failed = frames = 0
    with process.outcome(lambda: f"the same command goes on, {folder} is not finished"), counting(quiet) as show:
        for progress in work:
            result = progress.result
            known += progress.known
            if result.status == "failed":
                failed += 1
                again = ", as before" if progress.known else ""
                output.print(f"row {result.row} failed{again}: {result.error}")
            elif not progress.known:
                made, frames = made + 1, frames + result.frames
            show(progress.done, progress.total, f"rows, {failed} failed", frames)
    if not quiet:
        there = progress.total - failed
        output.print(f"{there} videos are in {folder}, {there - made} of them from before; {failed} rows failed")
    if failed:
        raise typer.Exit(process.FAILED)
