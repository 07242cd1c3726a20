"""Intervals that hold the truth as often as they say, and the sign test's known probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kptalk.evaluate.statistics import bootstrap_mean, sign_test


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_the_interval_is_about_the_mean_and_within_the_data(values):
    found = bootstrap_mean(values)
    slack = 1e-9 * (1 + abs(found.mean))
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack
    assert found.mean == pytest.approx(np.mean(values))
    assert found.n == len(values)


def test_what_was_not_measured_does_not_count():
    assert bootstrap_mean([1, np.nan, 3]).mean == 2
    assert bootstrap_mean([1, np.nan, 3]).n == 2
    nothing = bootstrap_mean([np.nan])
    assert nothing.n == 0
    assert np.isnan(nothing.mean)


def test_nineteen_of_twenty_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    held = [bool((m := bootstrap_mean(rng.normal(size=30))).low <= 0 <= m.high) for _ in range(300)]
    assert 0.88 <= np.mean(held) <= 0.98


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(1).normal(size=20)
    assert bootstrap_mean(values) == bootstrap_mean(values)


def test_signs():
    result = sign_test([1, 1, 1, 1, 1, 5, np.nan], [2, 2, 2, 2, 2, 5, 1])
    assert (result.wins, result.losses, result.ties) == (5, 0, 1)
    assert result.p == pytest.approx(2 / 32)
    assert sign_test([1], [1]).p == 1


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=30))
def test_the_sign_test_is_symmetric(pairs):
    a, b = np.array(pairs).T
    ours, theirs = sign_test(a, b), sign_test(b, a)
    assert (ours.wins, ours.losses, ours.p) == (theirs.losses, theirs.wins, theirs.p)
