"""Bootstrap intervals, paired differences and significance tests.

- Hierarchical bootstrap: persons are resampled, then the episodes of each resampled person.
- Paired differences between two methods on the same episodes.
- Wilcoxon signed-rank test over persons, with its effect size and a correction for many tests.

Persons are the sample, so read an interval beside the number of persons. With few persons a percentile
interval is too narrow (on five normal persons it covers the truth in 80 to 90% of cases), and with one person
it is about that person's episodes only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

RESAMPLES = 2_000

LEVEL = 0.95

MIN_PERSONS = 6
"""Fewest persons for a Wilcoxon test: with five, no outcome has a two-sided p below .06."""

_CELLS_AT_ONCE = 4_000_000
"""Most elements of the arrays that a batch of resamples is drawn in: limits memory."""

EpisodeKey = tuple[str, str]
"""(person, episode_id)."""


@dataclass(frozen=True)
class EpisodeScores:
    """What one method scored on one episode."""

    person: str
    episode_id: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Interval:
    """A mean and its 95% bootstrap interval.

    The mean is over persons of the means over their episodes, or else a statistic of items
    (`bootstrap_item_interval`).
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Method a minus method b on the same episodes: mean and 95% interval as in `Interval`.

    `wilcoxon_p` is two-sided, over persons; None with fewer than MIN_PERSONS. `effect` is the matched-pairs
    rank-biserial correlation: 1 where a is better for every person, -1 where b is.
    """

    mean: float
    low: float
    high: float
    wilcoxon_p: float | None
    effect: float
    persons: int


def by_person(scores: Iterable[EpisodeScores], metric: str) -> dict[str, list[float]]:
    """Return one metric's values by person, for `bootstrap_interval`."""
    values: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        values[score.person].append(score.metrics[metric])
    return dict(values)


def by_episode(scores: Iterable[EpisodeScores], metric: str) -> dict[EpisodeKey, float]:
    """Return one metric's values by (person, episode_id), for `paired_difference`.

    Raises ValueError where an episode is scored twice.
    """
    values: dict[EpisodeKey, float] = {}
    for score in scores:
        key = (score.person, score.episode_id)
        if key in values:
            raise ValueError(f"episode {score.episode_id} of {score.person} is scored twice")
        values[key] = score.metrics[metric]
    return values


def bootstrap_intervals(
    scores: Sequence[EpisodeScores], seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Return an interval for every metric that all episodes have."""
    names = [name for name in (scores[0].metrics if scores else ()) if all(name in s.metrics for s in scores)]
    return {name: bootstrap_interval(by_person(scores, name), seed, resamples) for name in names}


def bootstrap_interval(
    scores_by_person: Mapping[str, Sequence[float]], seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Return the percentile interval of a hierarchical bootstrap.

    Each resample draws persons with replacement, and for each drawn person as many episodes as that person
    has.

    Raises ValueError for no scores, or for a score that is not finite.
    """
    # Sorted, so that the interval does not depend on the order in which persons were measured.
    groups = [np.asarray(scores_by_person[person], dtype=np.float64) for person in sorted(scores_by_person)]
    if not groups or not all(len(group) and np.isfinite(group).all() for group in groups):
        raise ValueError("every person needs at least one score, and all must be finite numbers")
    weights = _resampling_weights(tuple(map(len, groups)), resamples, seed)
    # Not by a matrix product, whose last digit depends on the number of threads.
    means = np.einsum("rs,s->r", weights, np.concatenate(groups))
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(np.mean([group.mean() for group in groups])), float(low), float(high))


def bootstrap_item_interval(
    statistic: Callable[[np.ndarray], float], items: int, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Return a statistic of a sample of items, and its percentile bootstrap interval over the items.

    Args:
        statistic: takes the numbers of the items (items,), which may repeat, and returns a value; resamples
            where it returns nan are left out.
        items: how many items there are.
        seed: seed of the resamples.
        resamples: how many resamples to draw.
    """
    rng = np.random.default_rng(seed)
    values = np.array([statistic(rng.integers(items, size=items)) for _ in range(resamples)])
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(values) else (np.nan, np.nan)
    return Interval(float(statistic(np.arange(items))), float(low), float(high))


def paired_difference(
    a: Mapping[EpisodeKey, float],
    b: Mapping[EpisodeKey, float],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Difference:
    """Return a minus b, episode by episode; each resample takes the same persons and episodes of both.

    Raises ValueError where a and b were not measured on the same episodes.
    """
    if a.keys() != b.keys():
        odd = sorted(a.keys() ^ b.keys())
        raise ValueError(f"not the same episodes: {len(odd)} are in one only, such as {odd[0]}")
    differences: dict[str, list[float]] = defaultdict(list)
    for person, episode in sorted(a):
        differences[person].append(a[person, episode] - b[person, episode])
    interval = bootstrap_interval(differences, seed, resamples)
    per_person = np.array([np.mean(values) for values in differences.values()])
    # Rounded, so that float noise neither turns a zero into a difference nor breaks a tie of ranks.
    per_person = np.round(per_person, 12)
    return Difference(
        interval.mean,
        interval.low,
        interval.high,
        wilcoxon_p=_wilcoxon(per_person),
        effect=rank_biserial(per_person),
        persons=len(per_person),
    )


def adjust_p_values(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for the number of tests made together (Benjamini and Hochberg 1995).

    If all tests with a corrected value below q are called differences, at most a share q of them is expected
    to be none. None stays None and does not count as a test.
    """
    tested = [p for p in p_values if p is not None]
    corrected = iter(stats.false_discovery_control(tested).tolist() if tested else ())
    return [None if p is None else next(corrected) for p in p_values]


def rank_biserial(differences: np.ndarray) -> float:
    """Return the matched-pairs rank-biserial correlation (Kerby 2014) of differences (persons,).

    It is the share of the rank sum in favor minus the share against. Zero differences are left out; 0 where
    all are zero.
    """
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 0.0
    ranks = stats.rankdata(np.abs(nonzero))
    return float((ranks * np.sign(nonzero)).sum() / ranks.sum())


def _wilcoxon(differences: np.ndarray) -> float | None:
    if len(differences) < MIN_PERSONS:
        return None
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)


@lru_cache(maxsize=2)  # most intervals of a comparison are over the same episodes
def _resampling_weights(counts: tuple[int, ...], resamples: int, seed: int) -> np.ndarray:
    """Return the weight of each score in each resample's mean (over persons of means over episodes).

    Args:
        counts: how many scores each person has; the scores of a person are adjacent.
        resamples: how many resamples to draw.
        seed: seed of the draws.

    Returns (resamples, scores), rows sum to 1.
    """
    rng = np.random.default_rng(seed)
    sizes = np.array(counts)
    starts = np.cumsum(sizes) - sizes
    slots = np.arange(sizes.max())
    weights = np.zeros((resamples, sizes.sum()))
    at_once = max(1, _CELLS_AT_ONCE // (len(sizes) * len(slots)))
    for part in np.split(weights, range(at_once, resamples, at_once)):
        persons = rng.integers(len(sizes), size=(len(part), len(sizes)))
        count = sizes[persons][..., None]
        drawn = starts[persons][..., None] + (rng.random((*persons.shape, len(slots))) * count).astype(
            np.int64
        )
        resample, person, slot = np.nonzero(slots < count)
        share = 1 / (count[resample, person, 0] * len(sizes))
        np.add.at(part, (resample, drawn[resample, person, slot]), share)
    return weights
