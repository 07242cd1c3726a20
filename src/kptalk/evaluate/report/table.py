"""The terminal's tables, and the lines below them that say what is not in them."""

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from rich.table import Table
from rich.text import Text

from kptalk.evaluate.report.numbers import SIGNIFICANT, all_pairs, method_mean, paired, plural, row, shown, worded
from kptalk.evaluate.result import Evaluation

MAX_NAMES = 4  # of clips in a note
Key = TypeVar("Key", bound=Hashable)


def table(evaluation: Evaluation) -> Table:
    """One row a metric, one column a method, real video first: mean over clips, then its 95 % bootstrap interval."""
    result = Table(
        title=f"{plural(len(evaluation.clips), 'clip')}, mean and 95 % interval",
        caption="↑ higher is better, ↓ lower is better, ≈real: the nearer to real video the better",
    )
    result.add_column("Metric", overflow="fold")
    for method in evaluation.methods:
        result.add_column(Text(shown(method.name)), justify="right", overflow="fold")
    for column in evaluation.columns:
        texts = worded(row(evaluation, column))
        cells = [Text.assemble(number, (f" {interval}" if interval else "", "dim")) for number, interval in texts]
        result.add_row(Text(column.heading), *cells)
    return result


def paired_table(evaluation: Evaluation) -> Table | None:
    """Wins-losses-ties of each two generated methods and the sign test's p; None where there are no two."""
    found = paired(evaluation)
    if not found:
        return None
    result = Table(
        title="Clip by clip: wins-losses-ties of the first, p of the sign test",
        caption=f"p is of each metric by itself: among 20 metrics one falls below {SIGNIFICANT} by chance",
    )
    result.add_column("Metric", overflow="fold")
    for first, second in all_pairs(found):
        result.add_column(Text(f"{shown(first)} : {shown(second)}"), justify="right", overflow="fold")
    for column, results in found.items():
        texts = []
        for count in map(results.get, all_pairs(found)):
            text = f"{count.wins}-{count.losses}-{count.ties} p={count.p:.2g}" if count else ""
            texts.append(Text(text, "bold" if count and count.p < SIGNIFICANT else ""))
        result.add_row(Text(column.heading), *texts)
    return result


def notes(evaluation: Evaluation) -> list[str]:
    """What a reader of the table must know besides: plain lines, not markup.

    Metrics that are not available with the command that gets them, frames without a face, clips that are missing and
    why, metrics that could not be measured on every clip, and what was unusual about a clip.
    """
    clips, methods = evaluation.clips, evaluation.methods
    lines = unavailable(evaluation)
    for column in evaluation.columns:
        if column.key not in evaluation.unavailable and not any(mean.n for mean in row(evaluation, column)):
            lines.append(f"{column.title}: could be measured on no clip: {column.about}")
    counts = []
    for method in methods:
        frames, faceless = sum(c.frames for c in method.clips), sum(c.faceless for c in method.clips)
        among = sum(c.faceless > 0 for c in method.clips)
        counts.append(f"{shown(method.name)} {faceless} of {frames}" + (f" (in {among} clips)" if among > 1 else ""))
    lines.append(f"frames without a face: {', '.join(counts)}")
    missing = [((m.name, reason), clip) for m in methods for clip, reason in m.missing.items()]
    for (name, reason), names in _grouped(missing):
        count = f"{len(names)} of {len(clips)} clips"
        lines.append(f"{shown(name)}: no usable video for {count}: {shown(reason)}: {_first_names(names)}")
    measured = [((m.name, method_mean(m, c).n, len(m.clips)), c.title) for m in methods for c in evaluation.columns]
    for (name, n, total), titles in _grouped(measured):
        if 0 < n < total:
            lines.append(f"{shown(name)}: {n} of {total} clips measured for {', '.join(titles)}")
    remarks = [((m.name, note), result.clip) for m in methods for result in m.clips for note in result.notes]
    return lines + [f"{shown(name)}: {shown(note)}: {_first_names(names)}" for (name, note), names in _grouped(remarks)]


def unavailable(evaluation: Evaluation) -> list[str]:
    """Metrics shown as "—", with why and the one command that gets them; those with one cause share a line."""
    titles = {column.key: column.title for column in evaluation.columns}
    causes = _grouped((cause, titles.get(key, key)) for key, cause in evaluation.unavailable.items())
    return [f"{', '.join(metrics)}: {shown(cause)}" for cause, metrics in causes]


def _first_names(names: Sequence[str]) -> str:
    """The first few names, and how many more."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(map(shown, names[:MAX_NAMES])) + more


def _grouped(pairs: Iterable[tuple[Key, str]]) -> list[tuple[Key, list[str]]]:
    groups: dict[Key, list[str]] = {}
    for key, member in pairs:
        groups.setdefault(key, []).append(member)
    return list(groups.items())
