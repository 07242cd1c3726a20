"""The terminal's tables, and the lines below them that say what is not in them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

from rich.table import Table
from rich.text import Text

from kptalk.evaluate.report.numbers import heading, method_mean, row, shown, some_names, worded
from kptalk.evaluate.report.paired import paired
from kptalk.evaluate.result import Evaluation

Key = TypeVar("Key", bound=Hashable)


def table(evaluation: Evaluation) -> Table:
    """One row a metric, one column a method, real video first: mean over clips, then its 95 % bootstrap interval."""
    clips = len(evaluation.clips)
    result = Table(
        title=f"{clips} {'clip' if clips == 1 else 'clips'}, mean and 95 % interval",
        caption="↑ higher is better, ↓ lower is better, ≈real: the nearer to real video the better",
    )
    result.add_column("Metric", overflow="fold")
    for method in evaluation.methods:
        result.add_column(Text(shown(method.name)), justify="right", overflow="fold")
    for column in evaluation.columns:
        cells = [
            Text.assemble(number, (f" {interval}" if interval else "", "dim"))
            for number, interval in worded(row(evaluation, column))
        ]
        result.add_row(Text(heading(column)), *cells)
    return result


def paired_table(evaluation: Evaluation) -> Table | None:
    """Wins-losses-ties of each two generated methods and the sign test's p; None where there are no two."""
    pairs = paired(evaluation)
    if not pairs:
        return None
    names = list(dict.fromkeys((pair.first, pair.second) for pair in pairs))
    result = Table(
        title="Clip by clip: wins-losses-ties of the first, p of the sign test",
        caption="p is of each metric by itself: among 20 metrics one falls below 0.05 by chance",
    )
    result.add_column("Metric", overflow="fold")
    for first, second in names:
        result.add_column(Text(f"{shown(first)} : {shown(second)}"), justify="right", overflow="fold")
    cells = {(pair.column.key, pair.first, pair.second): pair.result for pair in pairs}
    for column in dict.fromkeys(pair.column for pair in pairs):
        texts = []
        for first, second in names:
            count = cells.get((column.key, first, second))
            text = f"{count.wins}-{count.losses}-{count.ties} p={count.p:.2g}" if count else ""
            texts.append(Text(text, "bold" if count and count.p < 0.05 else ""))
        result.add_row(Text(heading(column)), *texts)
    return result


def notes(evaluation: Evaluation) -> list[str]:
    """What a reader of the table must know besides: plain lines, not markup.

    Metrics that are not available with the command that gets them, frames without a face, clips that are missing and
    why, metrics that could not be measured on every clip, and what was unusual about a clip.
    """
    general = (unavailable, _nowhere, _faceless, _missing, _partly)
    return [line for part in general for line in part(evaluation)] + [
        f"{method}: {note}: {some_names(clips)}"
        for (method, note), clips in _grouped(
            ((shown(method.name), shown(note)), result.clip)
            for method in evaluation.methods
            for result in method.clips
            for note in result.notes
        )
    ]


def unavailable(evaluation: Evaluation) -> list[str]:
    """Metrics shown as "—", with why and the one command that gets them; those with one cause share a line."""
    titles = {column.key: column.title for column in evaluation.columns}
    causes = _grouped((cause, titles.get(key, key)) for key, cause in evaluation.unavailable.items())
    return [f"{', '.join(metrics)}: {shown(cause)}" for cause, metrics in causes]


def _nowhere(evaluation: Evaluation) -> list[str]:
    """Metrics that could be had, but whose conditions no video fulfilled."""
    return [
        f"{column.title}: could be measured on no clip: {column.about}"
        for column in evaluation.columns
        if column.key not in evaluation.unavailable and not any(mean.n for mean in row(evaluation, column))
    ]


def _faceless(evaluation: Evaluation) -> list[str]:
    counts = []
    for method in evaluation.methods:
        frames, faceless = sum(c.frames for c in method.clips), sum(c.faceless for c in method.clips)
        clips = sum(c.faceless > 0 for c in method.clips)
        counts.append(f"{shown(method.name)} {faceless} of {frames}" + (f" (in {clips} clips)" if clips > 1 else ""))
    return [f"frames without a face: {', '.join(counts)}"]


def _missing(evaluation: Evaluation) -> list[str]:
    return [
        f"{method}: no usable video for {len(clips)} of {len(evaluation.clips)} clips: {reason}: {some_names(clips)}"
        for (method, reason), clips in _grouped(
            ((shown(method.name), shown(reason)), clip)
            for method in evaluation.methods
            for clip, reason in method.missing.items()
        )
    ]


def _partly(evaluation: Evaluation) -> list[str]:
    """Means that are over fewer clips than the method has."""
    short = []
    for method in evaluation.methods:
        for column in evaluation.columns:
            measured = method_mean(method, column).n
            if 0 < measured < len(method.clips):
                short.append(((shown(method.name), measured, len(method.clips)), column.title))
    return [f"{name}: {n} of {total} clips measured for {', '.join(m)}" for (name, n, total), m in _grouped(short)]


def _grouped(pairs: Iterable[tuple[Key, str]]) -> list[tuple[Key, list[str]]]:
    groups: dict[Key, list[str]] = {}
    for key, member in pairs:
        groups.setdefault(key, []).append(member)
    return list(groups.items())
