"""``kptalk evaluate`` and ``kptalk study``."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from kptalk.cli import console, options, process
from kptalk.errors import OptionError

study = typer.Typer(no_args_is_help=True, help="A blind side-by-side study with people.")
KDTALKER_WINDOW = 64  # frames, of other systems' videos too unless something else is said


def evaluate(
    output: Annotated[Path, options.flag("Folder for the reports.", "--output", "-o")],
    real: Annotated[Path | None, options.flag("Folder of real videos.", group="Evaluation")] = None,
    generated: Annotated[
        list[Path] | None,
        options.flag("Folder of generated videos, named as the real ones; may be repeated.", group="Evaluation"),
    ] = None,
    clips: Annotated[
        Path | None,
        options.flag("Folder of real videos: first generate from their first frames and sound.", group="Evaluation"),
    ] = None,
    model: options.Model = "embedded",
    steps: options.Steps = None,
    seed: options.Seed = 0,
    seconds: Annotated[
        float | None, options.flag("Of every video's beginning; 0: all. With --clips 8, else all.", group="Evaluation")
    ] = None,
    clip_list: Annotated[
        Path | None,
        options.flag("A report's clips.csv: the same clips of the same content, or an error.", group="Evaluation"),
    ] = None,
    window: Annotated[
        int, options.flag("Frames between the window joins of given videos.", group="Evaluation")
    ] = KDTALKER_WINDOW,
    arcface: Annotated[
        Path | None, options.flag("ONNX file of a face-recognition model, for CSIM.", group="Evaluation")
    ] = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    overwrite: Annotated[bool, options.flag("Replace an existing report.", "--overwrite")] = False,
    engine: options.Engine = "local",
    jobs: Annotated[
        int | None, options.flag("Workers that measure; 1, or one a core of the cluster.", group="Other", metavar="N")
    ] = None,
    address: options.Address = None,
    quiet: options.Quiet = False,
) -> None:
    """Measure videos by the papers' metrics, real video beside every number."""
    with console.loading():
        from functools import partial

        from kptalk.device import set_threads
        from kptalk.evaluate import clips as videos
        from kptalk.evaluate.generate import PROTOCOL_SECONDS, generate_videos
        from kptalk.evaluate.metrics.registry import available_metrics, open_metrics
        from kptalk.evaluate.report.files import GENERATED, JOURNAL, open_report, write_report
        from kptalk.evaluate.report.table import notes, paired_table, table
        from kptalk.evaluate.result import REAL
        from kptalk.evaluate.run import evaluate as run
        from kptalk.motion.generator import WindowGrid
        from kptalk.options import Options
        from kptalk.version import __version__
        from kptalk.weights.model import open_model

    given = generated or []
    if clips is None and (real is None or not given):
        raise OptionError("give --real and --generated folders, or --clips to generate from")
    if clips is not None and (real is not None or given):
        raise OptionError("--clips generates from its videos: give neither --real nor --generated with it")
    if seconds is not None and not 0 <= seconds < 1e6:
        raise OptionError(f"seconds is {seconds:g}: give 0 for all, or more")
    if window < 2:
        raise OptionError(f"window is {window}: give 2 frames or more")
    set_threads()
    truth = videos.find_clips(real or clips or Path())
    listed = videos.read_clip_list(clip_list) if clip_list else None
    if listed:
        truth = videos.select_listed(truth, listed)
    methods = list(map(videos.VideoFolder, videos.method_names(given, [REAL]), given))
    for folder in given:
        videos.find_clips(folder)
    videos.require_speech(truth)
    how = Options(seed=seed, steps=steps)
    limit = (PROTOCOL_SECONDS if clips else None) if seconds is None else seconds or None

    def kept() -> str:
        if not any((output / name).exists() for name in (JOURNAL, GENERATED)):
            return process.NOTHING
        again = clips is not None and not overwrite
        return f"{'the same command goes on' if again else 'no report was written'}, {output} is not finished"

    with process.outcome(kept), console.progress_bars(quiet) as on_progress:
        pipeline = console.load_pipeline(model, device, precision, on_progress) if clips else None
        cache_key = None
        if clips:
            cache_key = json.dumps([open_model(model).digest(), device, precision, seed, steps, limit, __version__])
        journal = open_report(output, overwrite, cache_key)
        if pipeline:
            name, made = Path(model).resolve().name, output / GENERATED
            methods = [
                generate_videos(
                    pipeline,
                    truth,
                    made,
                    name=name,
                    options=how,
                    seconds=limit,
                    cache_key=cache_key,
                    on_progress=on_progress,
                )
            ]
        grid = pipeline.method.generator.grid if pipeline else WindowGrid(window, window)
        metrics, unavailable = open_metrics(grid, arcface)
        result = run(
            truth,
            methods,
            metrics,
            seconds=limit,
            unavailable=unavailable,
            command=shlex.join(["kptalk", *sys.argv[1:]]),
            seed=seed if pipeline else None,
            on_progress=on_progress,
            journal=journal,
            open_metrics=partial(available_metrics, grid, arcface),
            engine=engine,
            jobs=1 if jobs is None and engine == "local" else jobs,
            address=address,
        )
        write_report(result, output)
    changed = [clip.name for clip in result.clips if listed and clip not in listed]
    if changed:
        console.say("warning", f"compared up to another frame than in {clip_list}: {', '.join(changed)}")
    for part in () if quiet else (table(result), paired_table(result), *notes(result), str(output / "report.html")):
        if part is not None:
            console.output.print(part)


@study.command("build", cls=options.Grouped)
def build(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER FOLDER...", help="Videos of one method each; same name, same clip.")
    ],
    output: Annotated[Path, options.flag("Folder for the page.", "--output", "-o")],
    title: Annotated[str | None, options.flag("Heading that participants see.", group="Evaluation")] = None,
    seed: Annotated[int, options.flag("Of the names that hide the methods.", group="Evaluation")] = 0,
    overwrite: Annotated[bool, options.flag("Replace an existing study.", "--overwrite")] = False,
) -> None:
    """Make the page of a study; it needs no server."""
    from kptalk.evaluate.study.build import TITLE, build_study

    made = build_study(folders, output, seed, TITLE if title is None else title, overwrite)
    for note in made.notes:
        console.say("warning", note)
    console.output.print(f"{made.clips} clips, {len(made.methods)} methods: give {made.page} to the participants")
    console.output.print(f"keep {made.key}: it says which video is whose")


@study.command("tally", cls=options.Grouped)
def tally(
    key: Annotated[Path, typer.Argument(metavar="KEY", help="The key file beside the page.")],
    votes: Annotated[list[Path], typer.Argument(metavar="VOTES...", help="The files that participants saved.")],
) -> None:
    """Percentages of the votes for each question, with 95 % intervals."""
    from rich.table import Table

    from kptalk.evaluate.study.tally import tally as count

    result = count(key, votes)
    for line in result.refused:
        console.say("warning", line)
    shares = Table("question", "method", "votes", "percent", "95 % interval", title=result.title)
    for question, methods in result.shares.items():
        for share in methods:
            interval = f"{share.low:.1f} to {share.high:.1f}"
            shares.add_row(question, share.method, str(share.votes), f"{share.percent:.1f}", interval)
        shares.add_section()
    console.output.print(shares)
    console.output.print(f"{result.participants} participants, {result.clips} clips; intervals over {result.resampled}")
