"""The reports that programs read: CSV, one row a clip and method, and JSON with everything but the plots' tracks."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from dataclasses import asdict
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import Any

from kptalk.errors import OutputError
from kptalk.evaluate.report.numbers import clip_value, method_mean, shown
from kptalk.evaluate.report.paired import paired
from kptalk.evaluate.result import ClipResult, Evaluation, MethodResult

FORMAT = 1  # of the JSON file


def write_whole(path: str | PathLike[str], text: str) -> None:
    """Write text as UTF-8; the file appears under its name only when it is complete, and replaces an existing one.

    Raises:
        OutputError: it cannot be written there.
    """
    path = Path(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
            whole = Path(folder) / "report"
            whole.write_bytes(text.encode("utf-8", "surrogateescape"))
            os.replace(whole, path)
    except (OSError, ValueError) as error:  # ValueError: a name that cannot be
        raise OutputError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error


def write_csv(evaluation: Evaluation, path: str | PathLike[str]) -> None:
    """One row a clip and method, real first: ``clip, method, sha256, frames, faceless``, the metrics' keys, ``notes``.

    Numbers have 6 significant digits and are empty where not measured. A clip that a method lacks has a row too, with
    no numbers and the reason in ``notes``.

    Raises:
        OutputError: it cannot be written there.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    keys = [column.key for column in evaluation.columns]
    rows.writerow(["clip", "method", "sha256", "frames", "faceless", *keys, "notes"])
    for method in evaluation.methods:
        own = {result.clip: result for result in method.clips}
        for clip in evaluation.clips:
            result = own.get(clip.name)
            numbers = [clip_value(result, column) for column in evaluation.columns]
            cells = ["" if number != number else f"{number:.6g}" for number in numbers]
            names = [shown(clip.name), shown(method.name)]
            if result:
                about = [result.sha256, result.frames, result.faceless]
                rows.writerow([*names, *about, *cells, shown("; ".join(result.notes))])
            else:
                reason = method.missing.get(clip.name, "no video")
                rows.writerow([*names, "", 0, 0, *cells, shown(f"missing: {reason}")])
    write_whole(path, text.getvalue())


def write_json(evaluation: Evaluation, path: str | PathLike[str]) -> None:
    """Everything but the tracks: means with intervals, each clip's numbers, and all that makes the run repeatable.

    Strict JSON: what is not finite is null.

    Raises:
        OutputError: it cannot be written there.
    """
    content = {
        "kptalk": "evaluation",
        "format": FORMAT,
        "command": evaluation.command,
        "seed": evaluation.seed,
        "versions": dict(evaluation.versions),
        "weights": dict(evaluation.weights),
        "columns": [asdict(column) for column in evaluation.columns],
        "unavailable": dict(evaluation.unavailable),
        "clips": [asdict(clip) for clip in evaluation.clips],
        "methods": [_method(evaluation, method) for method in evaluation.methods],
        "paired": [
            {"column": pair.column.key, "first": pair.first, "second": pair.second, **asdict(pair.result)}
            for pair in paired(evaluation)
        ],
    }
    write_whole(path, json.dumps(finite(content), indent=1, allow_nan=False) + "\n")


def _method(evaluation: Evaluation, method: MethodResult) -> dict[str, Any]:
    return {
        "name": method.name,
        "means": {column.key: asdict(method_mean(method, column)) for column in evaluation.columns},
        "missing": dict(method.missing),
        "clips": [_clip(result) for result in method.clips],
    }


def _clip(result: ClipResult) -> dict[str, Any]:
    return {
        "clip": result.clip,
        "sha256": result.sha256,
        "frames": result.frames,
        "faceless": result.faceless,
        "notes": list(result.notes),
        "values": {key: float(number) for key, number in result.values.items()},
    }


def finite(value: Any) -> Any:
    """What JSON can hold: numbers in dicts and lists that are not finite become None."""
    if isinstance(value, dict):
        return {key: finite(member) for key, member in value.items()}
    if isinstance(value, list):
        return [finite(member) for member in value]
    return None if isinstance(value, float) and not isfinite(value) else value
