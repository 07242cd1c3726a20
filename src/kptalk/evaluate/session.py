"""From folders to a folder of reports: the table's numbers, and the files that are written while it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kptalk.errors import OutputError
from kptalk.evaluate.judges import open_judges
from kptalk.evaluate.metrics.jitter import Joins
from kptalk.evaluate.report.clip_list import write_clip_list
from kptalk.evaluate.report.files import finite, write_csv, write_json
from kptalk.evaluate.report.page import write_html
from kptalk.evaluate.result import ClipResult, Evaluation
from kptalk.evaluate.run import Method, Progress, evaluate
from kptalk.motion.facemesh.generator import LOOKAHEAD, OVERLAP
from kptalk.motion.generator import WINDOW

REPORT = "report.json"
GENERATED = "generated"
JOURNAL = "unfinished.jsonl"
OUTPUTS = (REPORT, "report.csv", "report.html", "clips.csv", JOURNAL)
OUR_JOINS = Joins(WINDOW - LOOKAHEAD, WINDOW - LOOKAHEAD - OVERLAP)


def open_report(folder: Path, overwrite: bool) -> None:
    """Make the folder of the reports. Old ones in it stay until the new ones replace them; other files are left alone.

    Raises:
        OutputError: it cannot be made, or holds a report and may not be overwritten.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not overwrite and any((folder / name).exists() for name in (*OUTPUTS, GENERATED)):
            raise OutputError(f"{folder} holds a report already: allow overwriting, or give another folder")
        (folder / JOURNAL).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to folder {folder}: {error.strerror}") from error


def report(
    clips: Sequence[Path],
    methods: Sequence[Method],
    folder: Path,
    *,
    joins: Joins,
    seconds: float | None = None,
    arcface: Path | None = None,
    command: str = "",
    seed: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge videos and write ``report.html``, ``report.csv``, ``report.json`` and the frozen list ``clips.csv``.

    While it runs every clip's numbers go to ``unfinished.jsonl`` at once; the file is removed at the end.

    Args:
        clips: the real videos.
        methods: where the generated ones are.
        folder: of the reports; it exists.
        joins: where the methods' windows meet.
        seconds: only so much of every video's beginning is compared; None for all.
        arcface: face-recognition model for CSIM, see ``open_judges``.
        command, seed: for the record.
        progress: told after every clip.

    Raises:
        DatasetError: a real video cannot be used, or two methods have one name.
        OutputError: the reports cannot be written.
        MissingExtra: the page cannot be drawn without the extra; the other files are written.
    """
    judges, unavailable = open_judges(joins, arcface)
    journal = folder / JOURNAL

    def keep(method: str, result: ClipResult) -> None:
        row = {"method": method, "clip": result.clip, **result.values}
        try:
            with journal.open("a") as file:
                file.write(json.dumps(finite(row)) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write {journal}: {error.strerror}") from error

    evaluation = evaluate(
        clips,
        methods,
        judges,
        seconds=seconds,
        unavailable=unavailable,
        command=command,
        seed=seed,
        progress=progress,
        finished=keep,
    )
    write_csv(evaluation, folder / "report.csv")
    write_clip_list(evaluation.clips, folder / "clips.csv")
    write_json(evaluation, folder / REPORT)
    journal.unlink(missing_ok=True)
    write_html(evaluation, folder / "report.html")
    return evaluation
