"""Intervals of many paired differences that hold together, for what was chosen because it looked best.

The best of many methods is the one whom chance favored most, so that its own interval promises too much. Here
all intervals are widened by one factor, such that in 95% of cases every one of them holds the truth. Then
those of any pairs that are picked afterwards do, too.

It is the single-step procedure with the bootstrap distribution of the largest studentized deviation (Westfall
and Young 1993; Romano and Wolf 2005). The standard errors are estimated from few persons, so the factor is
that of Student's t with the same tail. Of eight equal methods some pair is then told apart in 4% of cases
with 20 persons, in 10% with 8, where intervals by themselves do so in more than half.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from benchmarks.measuring.statistics import LEVEL, RESAMPLES, Scored, resampled_means

Bounds = tuple[float, float]


def simultaneous_intervals(
    differences: Sequence[Scored], seed: int = 0, resamples: int = RESAMPLES
) -> list[Bounds]:
    """Return an interval for each of these differences, all of them of the same episodes.

    Each resample takes the same persons, episodes and speakers for all differences. Where speakers are known,
    the wider interval is that with or without resampling them, as everywhere.
    """
    means = np.array([difference.mean for difference in differences])
    drawn = [resampled_means(difference, seed, resamples) for difference in differences]
    bounds = means[:, None].repeat(2, axis=1)
    for kind in range(max(map(len, drawn), default=0)):
        known = [place for place, kinds in enumerate(drawn) if len(kinds) > kind]
        half = _half_widths(
            np.stack([drawn[place][kind] for place in known]), means[known], len(differences[0].counts)
        )
        bounds[known, 0] = np.minimum(bounds[known, 0], means[known] - half)
        bounds[known, 1] = np.maximum(bounds[known, 1], means[known] + half)
    return [(low, high) for low, high in bounds.tolist()]


def _half_widths(drawn: np.ndarray, means: np.ndarray, persons: int) -> np.ndarray:
    """Return half the width of each interval, (differences,), from resampled means (differences, resamples).

    Differences that are the same in every resample have no width.
    """
    errors = drawn.std(axis=1)
    varies = errors > 1e-12
    if not varies.any():
        return np.zeros(len(means))
    largest = (np.abs(drawn - means[:, None])[varies] / errors[varies, None]).max(axis=0)
    factor = np.quantile(largest, LEVEL)
    if persons > 1:
        # A bootstrap of n persons has the variance of n, not of n - 1.
        factor = stats.t.isf(stats.norm.sf(factor), persons - 1) * np.sqrt(persons / (persons - 1))
    return errors * varies * factor
