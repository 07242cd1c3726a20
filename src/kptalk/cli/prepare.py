"""``kptalk prepare``."""

from pathlib import Path
from typing import Annotated

import typer

from kptalk.cli import options, process
from kptalk.cli.console import counting, loading, output
from kptalk.train.prepare.options import PrepareOptions

DEFAULTS = PrepareOptions()


def prepare(
    videos: Annotated[
        list[Path],
        typer.Argument(metavar="VIDEOS...", help="Videos, folders, globs, lists (.txt) or tables (.csv) of them."),
    ],
    folder: Annotated[Path, options.flag("Folder of the dataset.", "--output", "-o")],
    people: Annotated[
        Path | None,
        options.flag("CSV with the columns file and identity; without it every video is a person.", group="Training"),
    ] = None,
    annotations: Annotated[
        Path | None,
        options.flag("Folder of HDTF's or VoxCeleb2's text files: which parts of the videos.", group="Training"),
    ] = None,
    min_face: Annotated[float, options.flag("Least width of a face, in pixels.", group="Training")] = DEFAULTS.min_face,
    max_yaw: Annotated[
        float, options.flag("How far a head may be turned away, in degrees.", group="Training")
    ] = DEFAULTS.max_yaw,
    min_sharpness: Annotated[
        float, options.flag("Least sharpness of a face; the report shows what there is.", group="Training")
    ] = DEFAULTS.min_sharpness,
    min_sync: Annotated[
        float, options.flag("Least correlation of lips and sound.", group="Training")
    ] = DEFAULTS.min_sync,
    max_lag: Annotated[
        int, options.flag("By how many frames sound is shifted to bring it into step.", group="Training")
    ] = DEFAULTS.max_lag,
    longest: Annotated[float, options.flag("Seconds after which a clip is cut.", group="Training")] = DEFAULTS.longest,
    model: Annotated[
        str,
        options.flag("Whose motion space the motion is read in, or 'none'.", group="Model", words=options.MODELS),
    ] = DEFAULTS.model,
    engine: options.Engine = "local",
    jobs: options.Jobs = None,
    address: options.Address = None,
    quiet: options.Quiet = False,
) -> None:
    """Make a dataset of videos; whatever is left out is named with the reason. The same command goes on."""
    with loading():
        from kptalk.device import set_threads
        from kptalk.train.prepare.run import prepare_videos

    set_threads()
    wanted = PrepareOptions(model, min_face, max_yaw, min_sharpness, min_sync, max_lag, longest)
    work = prepare_videos(videos, folder, people, annotations, wanted, engine=engine, jobs=jobs, address=address)
    clips = left_out = frames = 0
    with process.outcome(lambda: f"the same command goes on, {folder} is not finished"), counting(quiet) as show:
        for progress in work:
            clips, frames = clips + progress.clips, frames + progress.frames
            left_out += len(progress.left_out)
            for name, reason in progress.left_out:
                output.print(f"left out {name}: {reason}")
            show(progress.done, progress.total, f"videos, {clips} clips, {left_out} left out", frames)
    if not quiet:
        output.print(f"{clips} clips are in {folder}, {left_out} were left out: see {folder / 'report.html'}")
    if not clips:
        raise typer.Exit(process.BAD_INPUT)
