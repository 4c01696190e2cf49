"""Aggregate scores into the content of results.json and costs.json.

The folds of a cross-validation are pooled: one row for each method and setting. Every mean, interval and
difference is computed from the scores of single episodes, never from averages. Costs (seconds, memory,
parameters) have a file of their own because they differ from run to run; results.json does not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, groupby
from typing import Any

import numpy as np

from benchmarks.measuring.overlap import merge_overlapping, overlap_notes
from benchmarks.measuring.scores import MethodScores, Scores
from benchmarks.measuring.simultaneous import simultaneous_intervals
from benchmarks.measuring.statistics import (
    EpisodeScores,
    Interval,
    Scored,
    adjust_p_values,
    bootstrap_intervals,
    by_person,
    difference_of,
    has_metric,
    paired_scores,
    ratio_interval,
    resampled_interval,
    scored,
)
from benchmarks.measuring.train_seeds import mean_over_seeds, spread_over_seeds
from perser.errors import UserError

COSTS = "costs.json"

COMPARED_METRICS = (
    "log_loss",
    "auroc",
    "average_precision",
    "maF1",
    "miF1",
    "label_accuracy",
    "balanced_accuracy",
)
"""The metrics with paired differences, the headline first. Scores of earlier versions have the last four."""

ZERO, ORACLE = "entire-zero", "oracle"
"""The method that does not personalize, and the one that knows the persons: what is gained lies between."""

SAME_META = ("corpus_fingerprint", "emotions", "q")
"""Parts of `meta` that must be equal in all scores that are pooled."""

ROW_META = ("emotions", "trained_on", "mode")
"""Parts of `meta` that rows have, too; the last two are not in scores of earlier versions."""

MERGED_META = ("persons_left_out", "training_persons", "trained_on", "mode", "simulated", "notes")
"""Parts of `meta` that have their own rule for merging (see `_meta`)."""


@dataclass(frozen=True)
class PooledMethod:
    """One method in one setting, over all folds, and over the training seeds where there are several."""

    by_seed: Mapping[int | None, Sequence[MethodScores]]
    """Its folds, by training seed."""

    @property
    def folds(self) -> list[MethodScores]:
        """The folds of all training seeds."""
        return [fold for folds in self.by_seed.values() for fold in folds]

    @property
    def name(self) -> str:
        return self.folds[0].method

    @property
    def is_trivial(self) -> bool:
        """Whether the method never hears the speech."""
        return self.folds[0].route == "trivial"

    @cached_property
    def episodes(self) -> list[EpisodeScores]:
        """Its scores; where there are several training seeds, the mean over them, episode by episode."""
        return mean_over_seeds(list(self._episodes_by_seed.values()), self.name)

    @property
    def over_seeds(self) -> dict[str, Any] | None:
        """How the means of COMPARED_METRICS differ between training seeds; None where there is only one."""
        if len(self.by_seed) < 2:
            return None
        return spread_over_seeds(self._episodes_by_seed, COMPARED_METRICS)

    @property
    def _episodes_by_seed(self) -> dict[int | None, list[EpisodeScores]]:
        return {
            seed: [episode for fold in folds for episode in fold.episodes]
            for seed, folds in self.by_seed.items()
        }

    @property
    def adapts(self) -> dict[str, Any]:
        """What the method adapts; a value that differs is a list with one entry per fold and training."""
        return {
            key: _single_or_all([fold.adapts.get(key) for fold in self.folds]) for key in self.folds[0].adapts
        }

    @property
    def by_person(self) -> dict[str, dict[str, float]]:
        """The mean of each of COMPARED_METRICS over a person's episodes."""
        values = {metric: by_person(self.episodes, metric) for metric in COMPARED_METRICS}
        return {
            person: {
                metric: float(np.mean(persons[person]))
                for metric, persons in values.items()
                if person in persons
            }
            for person in sorted({episode.person for episode in self.episodes})
        }

    @property
    def peak_bytes(self) -> int | None:
        """The largest peak of all folds; None where no fold measured it."""
        return max((fold.peak_bytes for fold in self.folds if fold.peak_bytes is not None), default=None)

    def total(self, name: str) -> list[list[float]]:
        """Return a table of counts (`confusion`, `reliability`), summed over the folds."""
        return np.round(sum(np.array(getattr(fold, name)) for fold in self.folds), 6).tolist()

    def seconds(self, name: str) -> float:
        """Return a mean time over all episodes (`seconds_personalize`, `seconds_predict`)."""
        weights = [len(fold.episodes) for fold in self.folds]
        return float(np.average([getattr(fold, name) for fold in self.folds], weights=weights))


def aggregate_results(scores: Sequence[Scores], title: str) -> dict[str, Any]:
    """Return the content of results.json: `meta`, `rows` and `differences`.

    Scores of the same setting (corpus, scenario, person axis, encoder, K) are folds of one cross-validation.

    Raises UserError where the folds of a setting do not go together.
    """
    rows, differences = [], []
    for setting, shared, methods in pool_folds(scores):
        gained = gains(methods)
        rows += [_row(method, setting, gained.get(method.name, {})) | shared for method in methods]
        differences += [difference | setting for difference in _differences(methods)]
    return {"meta": _meta(scores, title), "rows": rows, "differences": differences}


def aggregate_costs(scores: Sequence[Scores]) -> list[dict[str, Any]]:
    """Return the content of costs.json: one row for each setting and method."""
    return [
        {"method": method.name}
        | setting
        | method.folds[0].parameters
        | {
            "seconds_personalize": method.seconds("seconds_personalize"),
            "seconds_predict": method.seconds("seconds_predict"),
            "peak_bytes": method.peak_bytes,
        }
        for setting, _, methods in pool_folds(scores)
        for method in methods
    ]


def pool_folds(
    scores: Sequence[Scores],
) -> Iterator[tuple[dict[str, Any], dict[str, Any], list[PooledMethod]]]:
    """Yield each setting, what its rows have in common besides (ROW_META), and its methods.

    A method has all its folds and training seeds.
    """
    for same_setting in _by_setting(scores):
        _check_alike(same_setting)
        by_seed = {seed: _methods(merge_overlapping(folds)) for seed, folds in _by_seed(same_setting).items()}
        names = dict.fromkeys(name for methods in by_seed.values() for name in methods)
        methods = [
            PooledMethod({seed: found[name] for seed, found in by_seed.items() if name in found})
            for name in names
        ]
        first = same_setting[0]
        shared = {name: first.meta[name] for name in ROW_META if name in first.meta}
        yield first.setting, shared, methods


def single_or_distinct(values: Iterable[Any]) -> Any:
    """Return the value that all have in common, or else the list of the different values."""
    values = list(values)
    distinct = [value for place, value in enumerate(values) if value not in values[:place]]
    return distinct[0] if len(distinct) == 1 else distinct


def _single_or_all(values: list[Any]) -> Any:
    """Return the value that all have in common, or else all values."""
    return values[0] if all(value == values[0] for value in values) else values


def _by_setting(scores: Sequence[Scores]) -> list[list[Scores]]:
    """Group scores by setting; within a setting they keep their order.

    Models of several trainings on other corpora have a setting each: its scenario names the training.
    """
    scores = _with_trainings(scores)

    def key(fold: Scores) -> tuple[Any, ...]:
        return tuple(fold.setting.values())

    return [list(same) for _, same in groupby(sorted(scores, key=key), key=key)]


def _by_seed(same_setting: Sequence[Scores]) -> dict[int | None, list[Scores]]:
    """Group the scores of a setting by training seed, in their order."""
    seeds = dict.fromkeys(part.train_seed for part in same_setting)
    return {seed: [part for part in same_setting if part.train_seed == seed] for seed in seeds}


def _with_trainings(scores: Sequence[Scores]) -> list[Scores]:
    trainings: dict[tuple[Any, ...], set[str]] = {}
    for part in scores:
        if name := part.meta.get("trained_on"):
            trainings.setdefault(tuple(part.setting.values()), set()).add(name)
    several = {setting for setting, names in trainings.items() if len(names) > 1}
    return [
        replace(part, scenario=f"{part.scenario}, trained on {part.meta['trained_on']}")
        if tuple(part.setting.values()) in several and part.meta.get("trained_on")
        else part
        for part in scores
    ]


def _methods(folds: Sequence[Scores]) -> dict[str, list[MethodScores]]:
    """Return each method's folds, by its name."""
    names = [method.method for method in folds[0].methods]
    if any([method.method for method in fold.methods] != names for fold in folds):
        raise UserError("the folds were not measured with the same methods: run the experiment again")
    return {name: [fold.methods[place] for fold in folds] for place, name in enumerate(names)}


def gains(methods: Sequence[PooledMethod]) -> dict[str, dict[str, Interval]]:
    """Return what each method gained over Entire-Zero, by method and metric.

    `gain` is the log loss of Entire-Zero minus that of the method, in nats. `gain_share` is the gain as a
    share of the oracle's; it is left out where the oracle's own gain may be none, as its interval says.
    Empty where Entire-Zero was not measured, or by a version without log loss.
    """
    losses = {
        method.name: scored(method.episodes, "log_loss")
        for method in methods
        if has_metric(method.episodes, "log_loss")
    }
    if ZERO not in losses:
        return {}
    over_zero = {name: losses[ZERO] - loss for name, loss in losses.items()}
    found = {name: {"gain": resampled_interval(gain)} for name, gain in over_zero.items()}
    if ORACLE in found and found[ORACLE]["gain"].low > 0:
        for name, gain in over_zero.items():
            found[name]["gain_share"] = ratio_interval(gain, over_zero[ORACLE])
    return found


def _row(method: PooledMethod, setting: Mapping[str, Any], gained: Mapping[str, Interval]) -> dict[str, Any]:
    first, episodes, over_seeds = method.folds[0], method.episodes, method.over_seeds
    return {
        "method": first.method,
        "route": first.route,
        "adapts": method.adapts,
        **setting,
        "episodes": len(episodes),
        "persons": len({episode.person for episode in episodes}),
        "metrics": {
            metric: interval.as_json()
            for metric, interval in {**bootstrap_intervals(episodes), **gained}.items()
        },
        "seconds_personalize": round(method.seconds("seconds_personalize"), 5),
        "seconds_predict": round(method.seconds("seconds_predict"), 6),
        "parameters": first.parameters,
        **({"over_seeds": over_seeds} if over_seeds else {}),
        "by_person": method.by_person,
        "confusion": method.total("confusion"),
        "reliability": method.total("reliability"),
    }


def _differences(methods: Sequence[PooledMethod]) -> list[dict[str, Any]]:
    """Return the paired differences of all pairs of methods, the one listed later minus the other.

    Pairs of two trivial methods are left out. The Wilcoxon tests of a metric are corrected together
    (`wilcoxon_q`). Tests against trivial methods are corrected separately: nearly all of them are
    significant, and they would make the other tests look more certain than they are. `adjusted` is an
    interval that holds for all pairs of methods together (`simultaneous_intervals`).
    """
    differences: list[dict[str, Any]] = []
    together: dict[str, list[tuple[dict[str, Any], Scored]]] = defaultdict(list)
    for b, a in combinations(methods, 2):
        if a.is_trivial and b.is_trivial:
            continue
        for metric in COMPARED_METRICS:
            if not (has_metric(a.episodes, metric) and has_metric(b.episodes, metric)):
                continue
            pair = paired_scores(a.episodes, b.episodes, metric)
            row = {"a": a.name, "b": b.name, "metric": metric} | difference_of(pair).as_json()
            differences.append(row)
            if not (a.is_trivial or b.is_trivial):
                together[metric].append((row, pair))
    for same_metric in together.values():
        intervals = simultaneous_intervals([pair for _, pair in same_metric])
        for (row, _), (low, high) in zip(same_metric, intervals, strict=True):
            row["adjusted"] = [min(low, row["low"]), max(high, row["high"])]
    trivial = {method.name for method in methods if method.is_trivial}

    def family(difference: Mapping[str, Any]) -> tuple[str, bool]:
        return difference["metric"], bool({difference["a"], difference["b"]} & trivial)

    corrected = {
        tests: iter(adjust_p_values([row["wilcoxon_p"] for row in differences if family(row) == tests]))
        for tests in dict.fromkeys(map(family, differences))
    }
    return [row | {"wilcoxon_q": next(corrected[family(row)])} for row in differences]


def _check_alike(folds: Sequence[Scores]) -> None:
    for name in SAME_META:
        if any(fold.meta[name] != folds[0].meta[name] for fold in folds):
            raise UserError(
                f"the scores differ in {name}, so they cannot be pooled: measure them again together"
            )


def _meta(scores: Sequence[Scores], title: str) -> dict[str, Any]:
    folds = {part.training_digest: part.meta for part in scores}
    left_out = [part.meta["persons_left_out"] for part in scores]
    common = {
        name: _single_or_all([part.meta[name] for part in scores])
        for name in scores[0].meta
        if name not in MERGED_META
    }
    return (
        {"title": title}
        | common
        | {
            "folds": len(folds),
            "persons_left_out": {person: count for persons in left_out for person, count in persons.items()},
            "training_persons": _single_or_all([meta["training_persons"] for meta in folds.values()]),
            # A page of several corpora warns if any of them is simulated, and shows the notes of all.
            "simulated": any(part.meta["simulated"] for part in scores),
            "notes": list(dict.fromkeys(note for part in scores for note in part.meta["notes"]))
            + [
                note
                for same_setting in _by_setting(scores)
                for folds in _by_seed(same_setting).values()
                for note in overlap_notes(folds)
            ],
        }
    )
