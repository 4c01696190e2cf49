"""Intervals that hold for all pairs together: as in a plain loop, and chance is rarely called a lead."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from benchmarks.measuring.simultaneous import simultaneous_intervals
from benchmarks.measuring.statistics import Scored, resampled_interval


def pairs_of(values):
    """The differences of all pairs of methods, from one score a person (methods, persons)."""
    counts = (1,) * values.shape[1]
    return [Scored(a - b, counts, np.zeros((len(a), 0))) for b, a in combinations(values, 2)]


def test_a_plain_loop_over_resampled_persons_gives_the_same_intervals():
    values = np.random.default_rng(0).normal([[0.0], [0.3], [1.0]], 1.0, (3, 40))
    found = simultaneous_intervals(pairs_of(values), resamples=6000)
    rng, differences = np.random.default_rng(1), [a - b for b, a in combinations(values, 2)]
    drawn = np.array(
        [[each[persons].mean() for each in differences] for persons in rng.integers(40, size=(6000, 40))]
    )
    errors, means = drawn.std(axis=0), np.array([each.mean() for each in differences])
    factor = np.quantile((np.abs(drawn - means) / errors).max(axis=1), 0.95)
    factor = stats.t(39).ppf(stats.norm.cdf(factor)) * (40 / 39) ** 0.5
    for (low, high), mean, error in zip(found, means, errors, strict=True):
        assert (low, high) == pytest.approx((mean - factor * error, mean + factor * error), abs=0.03)


@pytest.mark.parametrize(("persons", "most"), [(8, 0.15), (20, 0.09)])
def test_methods_that_are_alike_are_seldom_told_apart(persons, most):
    """Some pair of eight equal methods differs by its own interval, but not by those of all pairs."""
    rng, trials = np.random.default_rng(2), 150
    wrong = np.zeros(2)
    for trial in range(trials):
        pairs = pairs_of(rng.normal(0, 1, (8, persons)))
        own = [resampled_interval(pair, trial, 400) for pair in pairs]
        together = simultaneous_intervals(pairs, trial, 400)
        wrong += [
            any(not each.low <= 0 <= each.high for each in own),
            any(not low <= 0 <= high for low, high in together),
        ]
    by_itself, adjusted = wrong / trials
    assert by_itself > 0.3
    assert adjusted < most


def test_a_true_lead_is_seen():
    values = np.random.default_rng(3).normal(0, 1, (8, 30))
    values[3] += 2
    low, _ = simultaneous_intervals(pairs_of(values[[0, 3]]) + pairs_of(values))[0]
    assert low > 0


def test_one_pair_has_about_its_own_interval_and_equal_methods_have_no_width():
    values = np.random.default_rng(4).normal(0, 1, (2, 60))
    (pair,) = pairs_of(values)
    own, (together,) = resampled_interval(pair), simultaneous_intervals([pair])
    assert together == pytest.approx((own.low, own.high), abs=0.03)
    assert simultaneous_intervals(pairs_of(values[[0, 0]])) == [(0.0, 0.0)]


def test_speakers_are_resampled_where_they_are_known():
    nothing, counts = np.zeros(20), (1,) * 20
    known = Scored(nothing, counts, np.tile([0.2, -0.2], (20, 1)))
    low, high = simultaneous_intervals([known])[0]
    assert low < -0.05 < 0.05 < high
    assert simultaneous_intervals([Scored(nothing, counts, np.zeros((20, 0)))]) == [(0.0, 0.0)]
