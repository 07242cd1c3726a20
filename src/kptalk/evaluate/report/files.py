"""The folder of a report, and in it the files that programs read: CSV, and JSON with everything but the tracks."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from kptalk.errors import OutputError
from kptalk.evaluate.clips import clip_list
from kptalk.evaluate.made import MADE, goes_on
from kptalk.evaluate.report.numbers import clip_value, method_mean, paired, shown
from kptalk.evaluate.report.page import html_report
from kptalk.evaluate.result import Evaluation
from kptalk.files import explain, write_bytes

GENERATED = "generated"
JOURNAL = "unfinished.jsonl"
REPORTS = ("report.json", "report.csv", "report.html", "clips.csv")
FORMAT = 1  # of the JSON file


def open_report(folder: Path, overwrite: bool, cache_key: str | None = None) -> Path:
    """Make the folder. Old reports in it stay until the new ones replace them; other files are left alone.

    Without ``overwrite``, what an interrupted run has generated with the same cache key is kept (``generate_videos``).

    Returns:
        the journal of the run that comes, see ``evaluate``.

    Raises:
        OutputError: it cannot be made, or holds a report and may not be overwritten.
    """
    journal = folder / JOURNAL
    try:
        folder.mkdir(parents=True, exist_ok=True)
        begun = cache_key is not None and goes_on(folder / GENERATED, cache_key)
        there = REPORTS if begun else (*REPORTS, JOURNAL, GENERATED)
        if not overwrite and any((folder / name).exists() for name in there):
            message = f"{folder} holds a report already: give another folder, or allow overwriting"
            raise OutputError(message, option="overwrite")
        journal.unlink(missing_ok=True)
        if overwrite:
            (folder / GENERATED / MADE).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to folder {folder}: {explain(error)}") from error
    return journal


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Write ``report.html``, ``report.csv``, ``report.json`` and the frozen list ``clips.csv``; remove the journal.

    Raises:
        OutputError: they cannot be written.
        MissingExtra: the page cannot be drawn without the extra; the other files are written.
    """
    write_bytes(folder / "report.csv", csv_report(evaluation).encode())
    write_bytes(folder / "clips.csv", clip_list(evaluation.clips).encode("utf-8", "surrogateescape"))
    write_bytes(folder / "report.json", json_report(evaluation).encode())
    (folder / JOURNAL).unlink(missing_ok=True)
    write_bytes(folder / "report.html", html_report(evaluation).encode())


def csv_report(evaluation: Evaluation) -> str:
    """One row a clip and method, real first: ``clip, method, sha256, frames, faceless``, the metrics' keys, ``notes``.

    Numbers have 6 significant digits and are empty where not measured. A clip that a method lacks has a row too, with
    no numbers and the reason in ``notes``.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    keys = [column.key for column in evaluation.columns]
    rows.writerow(["clip", "method", "sha256", "frames", "faceless", *keys, "notes"])
    for method in evaluation.methods:
        own = {result.clip: result for result in method.clips}
        for clip in evaluation.clips:
            result = own.get(clip.name)
            facts = (result.sha256, result.frames, result.faceless) if result else ("", 0, 0)
            numbers = [clip_value(result, column) for column in evaluation.columns]
            cells = ["" if number != number else f"{number:.6g}" for number in numbers]
            notes = "; ".join(result.notes) if result else f"missing: {method.missing.get(clip.name, 'no video')}"
            rows.writerow([shown(clip.name), shown(method.name), *facts, *cells, shown(notes)])
    return text.getvalue()


def json_report(evaluation: Evaluation) -> str:
    """Everything but the tracks: means with intervals, each clip's numbers, and all that makes the run repeatable.

    Strict JSON: what is not finite is null.
    """
    methods = [
        {
            "name": method.name,
            "means": {column.key: asdict(method_mean(method, column)) for column in evaluation.columns},
            "missing": method.missing,
            "clips": [{k: v for k, v in vars(result).items() if k != "tracks"} for result in method.clips],
        }
        for method in evaluation.methods
    ]
    comparisons = [
        {"column": column.key, "first": first, "second": second, **asdict(result)}
        for column, results in paired(evaluation).items()
        for (first, second), result in results.items()
    ]
    content = {
        "kptalk": "evaluation",
        "format": FORMAT,
        **{key: vars(evaluation)[key] for key in ("command", "seed", "versions", "weights")},
        "columns": list(map(asdict, evaluation.columns)),
        "unavailable": evaluation.unavailable,
        "clips": list(map(asdict, evaluation.clips)),
        "methods": methods,
        "paired": comparisons,
    }
    return json.dumps(finite(content), indent=1, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """What JSON can hold: numbers in mappings and sequences that are not finite become None."""
    if isinstance(value, Mapping):
        return {key: finite(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(member) for member in value]
    return None if isinstance(value, float) and not isfinite(value) else value
