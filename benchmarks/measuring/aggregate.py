"""What methods cost: parameters, seconds, memory. Apart from results.json, which a seed gives again.

From scores to the content of results.json: the turns of a cross-validation pooled into one row a method,
each K in rows of its own. Every mean, interval and difference is computed from the episodes' scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, groupby
from typing import Any

import numpy as np

from benchmarks.measuring.overlap import join_twins, twin_notes
from benchmarks.measuring.scores import MethodScores, Scores
from benchmarks.measuring.statistics import (
    EpisodeScores,
    adjusted,
    by_episode,
    by_person,
    intervals,
    paired_difference,
)
from perser.errors import UserError

COSTS = "costs.json"


def costs(scores: Sequence[Scores]) -> list[dict[str, Any]]:
    """The content of costs.json: a row for each setting and method."""
    return [
        {"method": method.parts[0].method}
        | setting
        | method.parts[0].parameters
        | {
            "seconds_personalize": method.seconds("seconds_personalize"),
            "seconds_predict": method.seconds("seconds_predict"),
            "peak_bytes": method.peak_bytes,
        }
        for setting, _, methods in pooled_by_setting(scores)
        for method in methods
    ]


COMPARED = ("maF1", "miF1", "label_accuracy", "balanced_accuracy")

SAME = ("corpus_fingerprint", "emotions", "q")
"""Which parts of `meta` must agree where scores are pooled."""

OWN = ("persons_left_out", "training_persons", "simulated", "notes")
"""Which parts of `meta` are put together in a way of their own."""


@dataclass(frozen=True)
class Pooled:
    """One method in one setting, over all turns."""

    parts: Sequence[MethodScores]

    @property
    def episodes(self) -> list[EpisodeScores]:
        return [episode for part in self.parts for episode in part.episodes]

    @property
    def adapts(self) -> dict[str, Any]:
        """What is the same in every turn as it is, what was chosen anew in each as a list."""
        found = {key: [part.adapts.get(key) for part in self.parts] for key in self.parts[0].adapts}
        return {key: _one_or_all(values) for key, values in found.items()}

    @property
    def by_person(self) -> dict[str, dict[str, float]]:
        """The metrics of COMPARED of each person, the mean over their episodes."""
        found = {metric: by_person(self.episodes, metric) for metric in COMPARED}
        return {
            person: {metric: float(np.mean(of[person])) for metric, of in found.items()}
            for person in sorted(found["maF1"])
        }

    @property
    def peak_bytes(self) -> int | None:
        """The largest of the turns'."""
        return max((part.peak_bytes for part in self.parts if part.peak_bytes is not None), default=None)

    def total(self, name: str) -> list[list[float]]:
        """Of a table of counts, the sum over the turns."""
        return np.round(sum(np.array(getattr(part, name)) for part in self.parts), 6).tolist()

    def seconds(self, name: str) -> float:
        """Mean over the episodes."""
        weights = [len(part.episodes) for part in self.parts]
        return float(np.average([getattr(part, name) for part in self.parts], weights=weights))


def pool(scores: Sequence[Scores], title: str) -> dict[str, Any]:
    """The content of results.json. Scores of the same setting (corpus, scenario, person axis, encoder, K) are
    turns.

    Raises UserError where turns do not go together.
    """
    rows, differences = [], []
    for setting, emotions, methods in pooled_by_setting(scores):
        rows += [_row(method, setting) | {"emotions": emotions} for method in methods]
        differences += [one | setting for one in _differences(methods)]
    return {"meta": _meta(scores, title), "rows": rows, "differences": differences}


def pooled_by_setting(scores: Sequence[Scores]) -> Iterator[tuple[dict[str, Any], list[str], list[Pooled]]]:
    """Each setting, its emotions, and the methods with all their turns."""

    for found in _by_setting(scores):
        _check_alike(found)
        turns = join_twins(found)
        yield turns[0].setting, turns[0].meta["emotions"], _methods(turns)


def _by_setting(scores: Sequence[Scores]) -> list[list[Scores]]:
    """Apart by setting; within one in the order that they are given in."""

    def place(one: Scores) -> tuple[Any, ...]:
        return tuple(one.setting.values())

    return [list(same) for _, same in groupby(sorted(scores, key=place), key=place)]


def _methods(turns: Sequence[Scores]) -> list[Pooled]:
    names = [one.method for one in turns[0].methods]
    if any([one.method for one in turn.methods] != names for turn in turns):
        raise UserError("the turns were not measured with the same methods: run the experiment again")
    return [Pooled([turn.methods[place] for turn in turns]) for place in range(len(names))]


def _row(pooled: Pooled, setting: Mapping[str, Any]) -> dict[str, Any]:
    first, episodes = pooled.parts[0], pooled.episodes
    return {
        "method": first.method,
        "route": first.route,
        "adapts": pooled.adapts,
        **setting,
        "episodes": len(episodes),
        "persons": len({episode.person for episode in episodes}),
        "metrics": {metric: asdict(one) for metric, one in intervals(episodes).items()},
        "seconds_personalize": round(pooled.seconds("seconds_personalize"), 5),
        "seconds_predict": round(pooled.seconds("seconds_predict"), 6),
        "parameters": first.parameters,
        "by_person": pooled.by_person,
        "confusion": pooled.total("confusion"),
        "reliability": pooled.total("reliability"),
    }


def _differences(methods: Sequence[Pooled]) -> list[dict[str, Any]]:
    """Every pair with at least one method that hears the speech: the one listed later minus the other.

    A metric's Wilcoxon tests are corrected together (`wilcoxon_q`); those against trivial rows, nearly all of
    them certain, apart from the others, which they would make look surer than they are.
    """
    trivial = {one.parts[0].method for one in methods if one.parts[0].route == "trivial"}
    found = []
    for b, a in combinations(methods, 2):
        if {a.parts[0].route, b.parts[0].route} == {"trivial"}:
            continue
        for metric in COMPARED:
            pair = paired_difference(by_episode(a.episodes, metric), by_episode(b.episodes, metric))
            found.append({"a": a.parts[0].method, "b": b.parts[0].method, "metric": metric} | asdict(pair))

    def family(one: Mapping[str, Any]) -> tuple[str, bool]:
        return one["metric"], bool({one["a"], one["b"]} & trivial)

    corrected = {
        each: iter(adjusted([one["wilcoxon_p"] for one in found if family(one) == each]))
        for each in dict.fromkeys(map(family, found))
    }
    return [one | {"wilcoxon_q": next(corrected[family(one)])} for one in found]


def _check_alike(turns: Sequence[Scores]) -> None:
    for name in SAME:
        if any(one.meta[name] != turns[0].meta[name] for one in turns):
            raise UserError(f"scores with another {name} cannot be pooled: measure them again together")


def _meta(scores: Sequence[Scores], title: str) -> dict[str, Any]:
    turns = {one.training_digest: one.meta for one in scores}
    left_out = [one.meta["persons_left_out"] for one in scores]
    told = {
        name: _one_or_all([one.meta[name] for one in scores]) for name in scores[0].meta if name not in OWN
    }
    return (
        {"title": title}
        | told
        | {
            "turns": len(turns),
            "persons_left_out": {person: count for one in left_out for person, count in one.items()},
            "training_persons": _one_or_all([one["training_persons"] for one in turns.values()]),
            # A page of several corpora warns of the simulated ones among them, and has the notes of all.
            "simulated": any(one.meta["simulated"] for one in scores),
            "notes": list(dict.fromkeys(note for one in scores for note in one.meta["notes"]))
            + [note for same in _by_setting(scores) for note in twin_notes(same)],
        }
    )


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else values
