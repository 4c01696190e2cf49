"""Intervals over utterances (bootstrap) and over listeners (Student's t)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from benchmarks.measuring.statistics import LEVEL, Interval

RESAMPLES = 1_000

_CELLS_AT_ONCE = 4_000_000
"""Most weights that are held at a time: limits memory."""


def utterance_interval(
    statistic: Callable[[np.ndarray], np.ndarray], utterances: int, seed: int = 0
) -> Interval:
    """Return a statistic of all utterances and its percentile interval over resampled utterances.

    Args:
        statistic: takes how often each utterance counts (resamples, utterances) and returns (resamples,).
        utterances: how many there are.
        seed: seed of the resamples.
    """
    rng = np.random.default_rng(seed)
    at_once = max(1, _CELLS_AT_ONCE // utterances)
    values = []
    for start in range(0, RESAMPLES, at_once):
        drawn = rng.integers(utterances, size=(min(at_once, RESAMPLES - start), utterances))
        values.append(statistic(np.stack([np.bincount(row, minlength=utterances) for row in drawn])))
    resampled = np.concatenate(values)
    # A resample in which all answers are equal has no alpha.
    low, high = np.quantile(resampled[np.isfinite(resampled)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(statistic(np.ones((1, utterances)))[0]), float(low), float(high))


def mean_over_utterances(values: np.ndarray) -> Interval:
    """Return the mean of one value an utterance (utterances,) and its interval over utterances."""
    return utterance_interval(lambda counts: counts @ values / counts.sum(axis=1), len(values))


def mean_over_listeners(values: np.ndarray, tests: int = 1) -> Interval:
    """Return the mean of one value a listener (listeners,) and its interval by Student's t.

    With few listeners, percentiles of a bootstrap would be too narrow.

    Args:
        values: at least two.
        tests: how many such intervals are read together. The probability that all of them hold is at least
            LEVEL (Bonferroni).
    """
    mean = float(values.mean())
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    half = error * float(stats.t.ppf(1 - (1 - LEVEL) / (2 * tests), len(values) - 1))
    return Interval(mean, mean - half, mean + half)
