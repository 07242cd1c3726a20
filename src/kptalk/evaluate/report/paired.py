"""Two methods against each other, clip by clip."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from kptalk.evaluate.metric import Column
from kptalk.evaluate.report.numbers import clip_value
from kptalk.evaluate.result import Evaluation, MethodResult
from kptalk.evaluate.statistics import Comparison, sign_test


@dataclass(frozen=True)
class Pair:
    """One metric of two generated methods; ``result`` counts the clips on which ``first`` is better as wins."""

    column: Column
    first: str
    second: str
    result: Comparison


def paired(evaluation: Evaluation) -> tuple[Pair, ...]:
    """Every pair of generated methods on every metric that both have on at least one common clip.

    What a clip costs: the number itself where lower is better, its negative where higher is better, and the distance
    from the real video's number where the real one is the aim.
    """
    pairs = []
    for column in evaluation.columns:
        for first, second in combinations(evaluation.methods[1:], 2):
            result = sign_test(_costs(evaluation, first, column), _costs(evaluation, second, column))
            if result.wins + result.losses + result.ties:
                pairs.append(Pair(column, first.name, second.name, result))
    return tuple(pairs)


def _costs(evaluation: Evaluation, method: MethodResult, column: Column) -> list[float]:
    """One number a clip of the list, NaN where there is none."""
    real = {result.clip: result for result in evaluation.methods[0].clips}
    own = {result.clip: result for result in method.clips}
    costs = []
    for clip in evaluation.clips:
        number = clip_value(own.get(clip.name), column)
        if column.better == "real":
            number = abs(number - clip_value(real.get(clip.name), column))
        costs.append(-number if column.better == "higher" else number)
    return costs
