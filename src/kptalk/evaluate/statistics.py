"""Means with intervals, and two methods compared clip by clip."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

RESAMPLES = 2000


@dataclass(frozen=True)
class Mean:
    """Mean over clips with its 95 % bootstrap interval; NaN where nothing was measured. ``n`` clips were."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same clips: how often each is better, and the two-sided sign test's p; ties count for none."""

    wins: int
    losses: int
    ties: int
    p: float


def bootstrap_mean(values: ArrayLike, seed: int = 0) -> Mean:
    """Mean of the finite values (N,) with its percentile bootstrap interval; the same seed gives the same interval."""
    numbers = np.asarray(values, float)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return Mean(np.nan, np.nan, np.nan, 0)
    rng = np.random.default_rng(seed)
    means = numbers[rng.integers(0, len(numbers), (RESAMPLES, len(numbers)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Mean(float(numbers.mean()), float(low), float(high), len(numbers))


def sign_test(cost: ArrayLike, other_cost: ArrayLike) -> Comparison:
    """Compare two methods by what each clip costs them, (N,): less is better; clips with a NaN do not count."""
    a, b = np.asarray(cost, float), np.asarray(other_cost, float)
    good = np.isfinite(a) & np.isfinite(b)
    wins, losses = int((a < b)[good].sum()), int((a > b)[good].sum())
    p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    return Comparison(wins, losses, int(good.sum()) - wins - losses, p)
