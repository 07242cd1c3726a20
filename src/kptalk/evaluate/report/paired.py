"""Two methods against each other, clip by clip."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from kptalk.evaluate.metric import MetricSpec
from kptalk.evaluate.report.numbers import clip_value
from kptalk.evaluate.result import Evaluation, MethodResult
from kptalk.evaluate.statistics import Comparison, sign_test

Pair = tuple[str, str]  # names of two methods


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
