"""A metric's number for a method, two methods clip by clip, and how every report words numbers and names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import floor, log10

import numpy as np

from kptalk.evaluate.metric import MetricSpec
from kptalk.evaluate.result import ClipResult, Evaluation, MethodResult
from kptalk.evaluate.statistics import Comparison, Mean, bootstrap_mean, sign_test

Pair = tuple[str, str]  # names of two methods
ABSENT = "—"
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


def paired(evaluation: Evaluation) -> Mapping[MetricSpec, Mapping[Pair, Comparison]]:
    """Every pair of generated methods on every metric that both have on at least one common clip.

    What a clip costs: the number itself where lower is better, its negative where higher is better, and the distance
    from the real video's number where the real one is the aim.
    """
    found: dict[MetricSpec, dict[Pair, Comparison]] = {}
    for column in evaluation.columns:
        for first, second in combinations(evaluation.methods[1:], 2):
            result = sign_test(_costs(evaluation, first, column), _costs(evaluation, second, column))
            if result.wins + result.losses + result.ties:
                found.setdefault(column, {})[first.name, second.name] = result
    return found


def all_pairs(found: Mapping[MetricSpec, Mapping[Pair, Comparison]]) -> list[Pair]:
    """The pairs that any metric has, in order."""
    return list(dict.fromkeys(pair for results in found.values() for pair in results))


def _costs(evaluation: Evaluation, method: MethodResult, column: MetricSpec) -> list[float]:
    """One number a clip of the list, NaN where there is none."""
    real, own = ({result.clip: result for result in m.clips} for m in (evaluation.methods[0], method))
    costs = []
    for clip in evaluation.clips:
        number = clip_value(own.get(clip.name), column)
        if column.better == "real":
            number = abs(number - clip_value(real.get(clip.name), column))
        costs.append(-number if column.better == "higher" else number)
    return costs


def worded(means: Sequence[Mean]) -> list[tuple[str, str]]:
    """One row's numbers as (mean, interval) texts with equal decimals: ``("7.12", "6.90…7.31")``, ``("—", "")``."""
    numbers = [abs(number) for mean in means for number in (mean.mean, mean.low, mean.high) if np.isfinite(number)]
    largest = max(numbers, default=0)
    decimals = min(max(DIGITS - 1 - floor(log10(largest)), 0), MAX_DECIMALS) if largest > 0 else DIGITS - 1

    def text(number: float) -> str:
        return f"{round(number, decimals) + 0.0:.{decimals}f}"  # adding 0 turns -0 into 0

    intervals = [f"{text(mean.low)}…{text(mean.high)}" if np.isfinite(mean.low) else "" for mean in means]
    return [(text(m.mean) if np.isfinite(m.mean) else ABSENT, i) for m, i in zip(means, intervals, strict=True)]


def shown(text: str) -> str:
    """Text with control characters and bytes that are no UTF-8 escaped, fit for terminals, HTML and CSV."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plural(count: int, noun: str) -> str:
    """``1 clip``, ``2 clips``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
