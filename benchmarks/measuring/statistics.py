"""Bootstrap intervals, paired differences and significance tests.

- Hierarchical bootstrap: persons are resampled, then the episodes of each resampled person.
- Pigeonhole bootstrap (Owen 2007): the speakers are resampled as well, independently of the persons, because
  the persons heard the same speakers. The wider interval is the one that is reported.
- Paired differences between two methods on the same episodes.
- Wilcoxon signed-rank test over persons, with its effect size and a correction for many tests.

Persons are the sample, so read an interval beside the number of persons. With few persons a percentile
interval is too narrow (on five normal persons it covers the truth in 80 to 90% of cases), and with one person
it is about that person's episodes only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
from scipy import stats

RESAMPLES = 2_000

LEVEL = 0.95

MIN_PERSONS = 6
"""Fewest persons for a Wilcoxon test: with five, no outcome has a two-sided p below .06."""

MAY_BE_UNDEFINED = ("auroc",)
"""Metrics that an episode may lack because of its labels, whatever the method; it is then left out."""

_NO_SCORES = "every person needs at least one score, and all must be finite numbers"

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
    by_speaker: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By metric and speaker, how fast the metric grows with the weight of the speaker's utterances
    (`benchmarks.measuring.speakers`); empty where that is not known."""


@dataclass(frozen=True)
class Scored:
    """One metric of episodes, for resampling."""

    values: np.ndarray
    """(episodes,), by person and then by episode."""
    counts: tuple[int, ...]
    """How many episodes each person has."""
    by_speaker: np.ndarray
    """How fast each value grows with the weight of each speaker, (episodes, speakers)."""

    def __sub__(self, other: Scored) -> Scored:
        """Return the differences, episode by episode; both are of the same episodes."""
        # Scores of an earlier version know no speakers.
        known = self.by_speaker.shape == other.by_speaker.shape
        slopes = self.by_speaker - other.by_speaker if known else np.zeros((len(self.values), 0))
        return Scored(self.values - other.values, self.counts, slopes)

    @property
    def mean(self) -> float:
        """The mean over persons of the means over their episodes."""
        groups = np.split(self.values, np.cumsum(self.counts)[:-1])
        return float(np.mean([group.mean() for group in groups]))


@dataclass(frozen=True)
class Interval:
    """A mean and its 95% bootstrap interval.

    The mean is over persons of the means over their episodes, or else a statistic of items
    (`bootstrap_item_interval`).
    """

    mean: float
    low: float
    high: float
    hierarchical: tuple[float, float] | None = None
    """The interval with persons and episodes resampled, where the pigeonhole interval is known too."""
    pigeonhole: tuple[float, float] | None = None
    """The interval with persons and speakers resampled. `low` and `high` are the wider of the two."""

    def as_json(self) -> dict[str, Any]:
        """Return the fields; the two intervals are left out where only one is known."""
        return _without_unknown_bounds(asdict(self))


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
    hierarchical: tuple[float, float] | None = None
    pigeonhole: tuple[float, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields; the two intervals are left out where only one is known."""
        return _without_unknown_bounds(asdict(self))


def by_person(scores: Iterable[EpisodeScores], metric: str) -> dict[str, list[float]]:
    """Return one metric's values by person, for `bootstrap_interval`. Episodes without it are left out."""
    values: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        if metric in score.metrics:
            values[score.person].append(score.metrics[metric])
    return dict(values)


def by_episode(scores: Iterable[EpisodeScores], metric: str) -> dict[EpisodeKey, float]:
    """Return one metric's values by (person, episode_id), for `paired_difference`.

    Episodes without the metric are left out. Raises ValueError where an episode is scored twice.
    """
    return {key: score.metrics[metric] for key, score in _by_key(scores, metric).items()}


def scored(scores: Iterable[EpisodeScores], metric: str) -> Scored:
    """Return one metric of episodes, for resampling. Episodes without it are left out."""
    by_key = _by_key(scores, metric)
    ordered = [by_key[key] for key in sorted(by_key)]
    known = [score.by_speaker.get(metric, {}) for score in ordered]
    # Speakers of some episodes only would make the interval neither of the two.
    speakers = sorted({name for each in known for name in each}) if all(known) else []
    return Scored(
        np.array([score.metrics[metric] for score in ordered]),
        tuple(len(list(same)) for _, same in groupby(ordered, key=lambda score: score.person)),
        np.array([[each.get(name, 0.0) for name in speakers] for each in known]).reshape(len(ordered), -1),
    )


def has_metric(scores: Sequence[EpisodeScores], metric: str) -> bool:
    """Return whether a metric is reported: every episode has it, or some have one that may be undefined."""
    present = [metric in score.metrics for score in scores]
    return any(present) if metric in MAY_BE_UNDEFINED else bool(present) and all(present)


def bootstrap_intervals(
    scores: Sequence[EpisodeScores], seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Return an interval for every metric that the episodes have (`has_metric`)."""
    names = dict.fromkeys(name for score in scores for name in score.metrics)
    return {
        name: resampled_interval(scored(scores, name), seed, resamples)
        for name in names
        if has_metric(scores, name)
    }


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
    if not groups or not all(map(len, groups)):
        raise ValueError(_NO_SCORES)
    counts = tuple(map(len, groups))
    return resampled_interval(
        Scored(np.concatenate(groups), counts, np.zeros((sum(counts), 0))), seed, resamples
    )


def resampled_interval(values: Scored, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Return the mean and the wider of its two percentile intervals.

    Raises ValueError for no scores, or for a score that is not finite.
    """
    return _wider(values.mean if len(values.values) else np.nan, resampled_means(values, seed, resamples))


def ratio_interval(a: Scored, b: Scored, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Return the ratio of two means and its interval; each resample takes the same episodes of both."""
    # Where only one of them knows the speakers, its second resamples are left out.
    pairs = zip(resampled_means(a, seed, resamples), resampled_means(b, seed, resamples), strict=False)
    return _wider(a.mean / b.mean, [above / below for above, below in pairs])


def _without_unknown_bounds(content: dict[str, Any]) -> dict[str, Any]:
    unknown = [name for name in ("hierarchical", "pigeonhole") if content[name] is None]
    return {name: value for name, value in content.items() if name not in unknown}


def _by_key(scores: Iterable[EpisodeScores], metric: str) -> dict[EpisodeKey, EpisodeScores]:
    found: dict[EpisodeKey, EpisodeScores] = {}
    for score in scores:
        key = (score.person, score.episode_id)
        if key in found:
            raise ValueError(f"episode {score.episode_id} of {score.person} is scored twice")
        if metric in score.metrics:
            found[key] = score
    return found


def resampled_means(values: Scored, seed: int, resamples: int) -> list[np.ndarray]:
    """Return the means of the hierarchical resamples, and of the pigeonhole ones where there are speakers."""
    if not len(values.values) or not np.isfinite(values.values).all():
        raise ValueError(_NO_SCORES)
    weights = _resampling_weights(values.counts, resamples, seed)
    # Not by a matrix product, whose last digit depends on the number of threads.
    means = np.einsum("re,e->r", weights, values.values)
    speakers = values.by_speaker.shape[1]
    if speakers < 2:
        return [means]
    rng = np.random.default_rng([seed, speakers])
    more = rng.multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples) - 1
    return [means, means + (np.einsum("re,es->rs", weights, values.by_speaker) * more).sum(axis=1)]


def _wider(mean: float, resampled: Sequence[np.ndarray]) -> Interval:
    bounds = [tuple(np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()) for means in resampled]
    low, high = max(bounds, key=lambda pair: pair[1] - pair[0])
    return Interval(float(mean), low, high, *(bounds if len(bounds) == 2 else ()))


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
    of_a, of_b = ([EpisodeScores(*key, {"": value}) for key, value in values.items()] for values in (a, b))
    return metric_difference(of_a, of_b, "", seed, resamples)


def paired_scores(a: Sequence[EpisodeScores], b: Sequence[EpisodeScores], metric: str) -> Scored:
    """Return a metric of a minus that of b, episode by episode.

    Raises ValueError where a and b were not measured on the same episodes.
    """
    keys = [_by_key(scores, metric).keys() for scores in (a, b)]
    if keys[0] != keys[1]:
        odd = sorted(keys[0] ^ keys[1])
        raise ValueError(f"not the same episodes: {len(odd)} are in one only, such as {odd[0]}")
    return scored(a, metric) - scored(b, metric)


def metric_difference(
    a: Sequence[EpisodeScores],
    b: Sequence[EpisodeScores],
    metric: str,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Difference:
    """Return `paired_difference` of a metric, with the speakers resampled too where they are known.

    Raises ValueError where a and b were not measured on the same episodes.
    """
    return difference_of(paired_scores(a, b, metric), seed, resamples)


def difference_of(differences: Scored, seed: int = 0, resamples: int = RESAMPLES) -> Difference:
    """Return the interval and the test of differences, episode by episode (`paired_scores`)."""
    interval = resampled_interval(differences, seed, resamples)
    groups = np.split(differences.values, np.cumsum(differences.counts)[:-1])
    # Rounded, so that float noise neither turns a zero into a difference nor breaks a tie of ranks.
    per_person = np.round([group.mean() for group in groups], 12)
    return Difference(
        **{name: getattr(interval, name) for name in ("mean", "low", "high", "hierarchical", "pigeonhole")},
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
