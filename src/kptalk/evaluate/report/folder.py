"""The folder of a report: which files are in it, and when they may be replaced."""

from __future__ import annotations

from pathlib import Path

from kptalk.errors import OutputError
from kptalk.evaluate.report.clip_list import clip_list
from kptalk.evaluate.report.files import csv_report, json_report
from kptalk.evaluate.report.page import html_report
from kptalk.evaluate.result import Evaluation
from kptalk.files import explain, write_bytes

GENERATED = "generated"
JOURNAL = "unfinished.jsonl"
REPORTS = ("report.json", "report.csv", "report.html", "clips.csv")


def open_report(folder: Path, overwrite: bool) -> Path:
    """Make the folder. Old reports in it stay until the new ones replace them; other files are left alone.

    Returns:
        the journal of the run that comes, see ``evaluate``.

    Raises:
        OutputError: it cannot be made, or holds a report and may not be overwritten.
    """
    journal = folder / JOURNAL
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not overwrite and any((folder / name).exists() for name in (*REPORTS, JOURNAL, GENERATED)):
            raise OutputError(f"{folder} holds a report already: allow overwriting, or give another folder")
        journal.unlink(missing_ok=True)
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
