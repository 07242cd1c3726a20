"""A metric's number for a method, and how numbers and names are worded in every report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import floor, log10

import numpy as np

from kptalk.evaluate.metric import MetricSpec
from kptalk.evaluate.result import ClipResult, Evaluation, MethodResult
from kptalk.evaluate.statistics import Mean, bootstrap_mean

ABSENT = "—"
ARROWS = {"higher": "↑", "lower": "↓", "real": "≈real"}
DIGITS = 3  # significant ones of a row's largest number
MAX_DECIMALS = 6
SIGNIFICANT = 0.05  # p of the sign test


def clip_value(result: ClipResult | None, column: MetricSpec) -> float:
    """One clip's number; NaN where it was not measured or there is no such clip."""
    return float(result.values.get(column.key, np.nan)) if result else np.nan


def method_mean(method: MethodResult, column: MetricSpec) -> Mean:
    """Mean over clips with its 95 % interval; one clip, or a number of all clips together, has no interval."""
    if column.key in method.overall:
        number = float(method.overall[column.key])
        return Mean(number, np.nan, np.nan, len(method.clips) if np.isfinite(number) else 0)
    mean = bootstrap_mean([clip_value(result, column) for result in method.clips])
    return mean if mean.n > 1 else replace(mean, low=np.nan, high=np.nan)


def row(evaluation: Evaluation, column: MetricSpec) -> list[Mean]:
    """A metric's number for every method, in their order, real first."""
    return [method_mean(method, column) for method in evaluation.methods]


def worded(means: Sequence[Mean]) -> list[tuple[str, str]]:
    """One row's numbers as (mean, interval) texts with equal decimals: ``("7.12", "6.90…7.31")``, ``("—", "")``."""
    numbers = np.array([[mean.mean, mean.low, mean.high] for mean in means])
    largest = np.abs(numbers[np.isfinite(numbers)]).max(initial=0)
    decimals = min(max(DIGITS - 1 - floor(log10(largest)), 0), MAX_DECIMALS) if largest > 0 else DIGITS - 1

    def text(number: float) -> str:
        return f"{round(number, decimals) + 0.0:.{decimals}f}"  # adding 0 turns -0 into 0

    return [
        (
            text(mean.mean) if np.isfinite(mean.mean) else ABSENT,
            f"{text(mean.low)}…{text(mean.high)}" if np.isfinite(mean.low) else "",
        )
        for mean in means
    ]


def labelled(column: MetricSpec) -> str:
    """Title and unit: ``LSE-C``, ``Diversity (degrees)``."""
    return f"{column.title} ({column.unit})" if column.unit else column.title


def heading(column: MetricSpec) -> str:
    """Title, unit and which way is better: ``LSE-C ↑``, ``Diversity (degrees) ≈real``."""
    return f"{labelled(column)} {ARROWS[column.better]}"


def shown(text: str) -> str:
    """Text with control characters and bytes that are no UTF-8 escaped, fit for terminals, HTML and CSV."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plural(count: int, noun: str) -> str:
    """``1 clip``, ``2 clips``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
