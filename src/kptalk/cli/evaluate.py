"""``kptalk evaluate`` and ``kptalk study``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from kptalk.cli import console as cli
from kptalk.cli import options as flags
from kptalk.errors import OptionError

study = typer.Typer(no_args_is_help=True, help="A blind side-by-side study with people.")


def evaluate(
    output: Annotated[Path, typer.Option("--output-file", "-o", help="Folder for the reports.")],
    real: Annotated[Path | None, typer.Option(help="Folder of real videos.")] = None,
    generated: Annotated[
        list[Path] | None, typer.Option(help="Folder of generated videos, named as the real ones; may be repeated.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Generate first, with this method: 'keypoint'; needs --clips.")
    ] = None,
    clips: Annotated[
        Path | None, typer.Option(help="Folder of real videos whose first frames speak with their sound.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="'embedded', 'official', or a folder that 'kptalk train' filled.")
    ] = "embedded",
    steps: Annotated[int | None, typer.Option(help="Denoising steps; the weights know a good number.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes the head's motion.")] = 0,
    seconds: Annotated[
        float | None, typer.Option(help="Of every video's beginning; 0: all. With --method 8, else all.")
    ] = None,
    clip_list: Annotated[
        Path | None, typer.Option(help="A report's clips.csv: the same clips of the same content, or an error.")
    ] = None,
    window: Annotated[int, typer.Option(help="Frames between the joins of the given videos' windows.")] = 64,
    arcface: Annotated[Path | None, typer.Option(help="ONNX file of a face-recognition model, for CSIM.")] = None,
    device: Annotated[str, typer.Option(help="'auto', 'cpu', 'cuda' or 'mps', to generate on.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing report.")] = False,
    quiet: flags.Quiet = False,
) -> None:
    """Judge videos by the papers' metrics, real video beside every number."""
    from kptalk.evaluate.generate import PROTOCOL_SECONDS, generate_videos
    from kptalk.evaluate.metrics.jitter import Joins
    from kptalk.evaluate.names import method_names
    from kptalk.evaluate.report.clip_list import read_clip_list
    from kptalk.evaluate.report.table import notes, paired_table, table
    from kptalk.evaluate.result import REAL
    from kptalk.evaluate.run import Method, check_clips, find_clips, require_speech
    from kptalk.evaluate.session import GENERATED, OUR_JOINS, open_report, report
    from kptalk.options import Options
    from kptalk.pipeline import Pipeline

    given = generated or []
    if method is None:
        if real is None or not given or clips is not None:
            raise OptionError("give --real and --generated folders, or --method with --clips")
    elif method != "keypoint":
        raise OptionError(f"method is {method!r}: give keypoint")
    elif clips is None or real is not None or given:
        raise OptionError("--method generates from the videos of --clips: give that and neither --real nor --generated")
    if seconds is not None and not 0 <= seconds < 1e6:
        raise OptionError(f"seconds is {seconds:g}: give 0 for all, or more")
    if window < 2:
        raise OptionError(f"window is {window}: give 2 frames or more")
    truth = find_clips(real or clips or Path())
    listed = read_clip_list(clip_list) if clip_list else None
    if listed:
        truth = check_clips(truth, listed)
    methods = [Method(name, folder) for name, folder in zip(method_names(given, [REAL]), given, strict=True)]
    for folder in given:
        find_clips(folder)
    require_speech(truth)
    options = Options(seed=seed, steps=steps)
    limit = (PROTOCOL_SECONDS if method else None) if seconds is None else seconds or None
    pipeline = Pipeline.from_pretrained(weights, device) if method else None
    open_report(output, overwrite)
    with cli.progress_bars(quiet) as tell:
        if pipeline:
            name = f"{method} {Path(weights).resolve().name}"
            made = generate_videos(
                pipeline, truth, output / GENERATED, name=name, options=options, seconds=limit, progress=tell
            )
            methods = [made]
        result = report(
            truth,
            methods,
            output,
            joins=OUR_JOINS if pipeline else Joins(window, window),
            seconds=limit,
            arcface=arcface,
            command=shlex.join(["kptalk", *sys.argv[1:]]),
            seed=seed if pipeline else None,
            progress=tell,
        )
    changed = [clip.name for clip in result.clips if listed and clip not in listed]
    if changed:
        cli.say("warning", f"compared up to another frame than in {clip_list}: {', '.join(changed)}")
    if quiet:
        return
    cli.output.print(table(result))
    duel = paired_table(result)
    if duel:
        cli.output.print(duel)
    for note in notes(result):
        cli.output.print(note)
    cli.output.print(f"{output / 'report.html'}")


@study.command("build")
def build(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER FOLDER...", help="Videos of one method each; same name, same clip.")
    ],
    output: Annotated[Path, typer.Option("--output-file", "-o", help="Folder for the page.")],
    title: Annotated[str | None, typer.Option(help="Heading that participants see.")] = None,
    seed: Annotated[int, typer.Option(help="Of the names that hide the methods.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing study.")] = False,
) -> None:
    """Make the page of a study; it needs no server."""
    from kptalk.evaluate.study.build import TITLE, build_study

    made = build_study(folders, output, seed, TITLE if title is None else title, overwrite)
    for note in made.notes:
        cli.say("warning", note)
    cli.output.print(f"{made.clips} clips, {len(made.methods)} methods: give {made.page} to the participants")
    cli.output.print(f"keep {made.key}: it says which video is whose")


@study.command("tally")
def tally(
    key: Annotated[Path, typer.Argument(metavar="KEY", help="The key file beside the page.")],
    votes: Annotated[list[Path], typer.Argument(metavar="VOTES...", help="The files that participants saved.")],
) -> None:
    """Percentages of the votes for each question, with 95 % intervals."""
    from rich.table import Table

    from kptalk.evaluate.study.tally import tally as count

    result = count(key, votes)
    for line in result.refused:
        cli.say("warning", line)
    shares = Table("question", "method", "votes", "percent", "95 % interval", title=result.title)
    for question, methods in result.shares.items():
        for share in methods:
            interval = f"{share.low:.1f} to {share.high:.1f}"
            shares.add_row(question, share.method, str(share.votes), f"{share.percent:.1f}", interval)
        shares.add_section()
    cli.output.print(shares)
    cli.output.print(f"{result.participants} participants, {result.clips} clips; intervals over {result.resampled}")
