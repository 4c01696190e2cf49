"""The ladder: what is a listener's own and repeatable, in nats of held-out log loss.

The consensus predicts each answer from those of the others, alike for all listeners. Every rung adds one way
in which listeners may differ to the rungs before it:

    bias          how readily the listener says each emotion
    reliability   how closely the listener follows the others (temperature)
    construal     how readily the listener says neutral where the others hear something else
    confusion     what the listener says where the others hear each emotion (a matrix)

A rung's population is fitted to other listeners, the listener's own part to some of the listener's labels,
and the rest are predicted. The rungs' gains are differences of these log losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.ceiling.answers import Answers
from benchmarks.ceiling.consensus import others_shares
from benchmarks.ceiling.intervals import mean_over_listeners
from benchmarks.ceiling.listener_model import AnswerTable, ListenerModel, fit_model, new_model, predict
from benchmarks.measuring.statistics import Interval

RUNGS = ("bias", "reliability", "construal", "confusion")

SIZES = (4, 8, 16, 32, 64)
"""Numbers of labels K that the curve shows."""

FEWEST_ASKED = 8
"""Labels that a listener must have beyond K to count at that K."""

DRAWS_OF_K = 3
"""How often K labels are drawn from a listener's."""

MOST_ASKED = 100
"""Answers of a listener that are predicted for each draw of K labels."""

FEWEST_TIMES = 1.5
"""Gains are extrapolated to more others if all others are so many times as many as those of a half."""

LABEL_FOLDS = 5

LISTENER_FOLDS = 5

RESOLUTION = 5e-4
"""Nats by which intervals are widened on both sides: what ends of fits and draws of effects may change in all
listeners alike, which an interval over listeners cannot see."""

MOST_ANSWERS = 100_000
"""Answers that the ladder is fitted to; of a larger corpus, so many listeners are drawn."""

MOST_OF_A_LISTENER = 500
"""Answers of a listener that are used."""


@dataclass(frozen=True)
class Pivot:
    """The emotion whose readiness is the construal: neutral; without such an emotion, the one given most."""

    name: str
    place: int

    @classmethod
    def of(cls, answers: Answers) -> Pivot:
        names = answers.emotions
        place = names.index("neutral") if "neutral" in names else int(answers.votes.sum(axis=0).argmax())
        return cls(names[place], place)


class FittedLadder:
    """The models of all rungs, for each listener fitted to other listeners."""

    def __init__(self, table: AnswerTable, directions: np.ndarray, groups: np.ndarray, seed: int) -> None:
        self.table = table
        self.seed = seed
        folds = min(LISTENER_FOLDS, table.num_listeners)
        self.fold = np.random.default_rng([seed, 1]).permutation(table.num_listeners) % folds
        self.models = [
            _fit_rungs(table, self.fold[table.listener] != fold, directions, groups) for fold in range(folds)
        ]

    def losses(self, known: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """Return both arrays of `predict` at each rung (2, num_answers, rungs + 1)."""
        found = np.full((2, len(known), len(RUNGS) + 1), np.nan)
        for fold, fitted in enumerate(self.models):
            mine = self.fold[self.table.listener] == fold
            effects = np.zeros((self.table.num_listeners, len(fitted[-1].directions)))
            for rung, model in enumerate(fitted):  # each adds effects to those of the one before
                predicted = predict(model, self.table, known & mine, asked & mine, self.seed, effects)
                found[:, mine, rung] = np.stack(predicted)[:, mine]
        return found

    def held_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each listener's log loss at each rung, two arrays (listeners, rungs + 1).

        The first is measured on a fifth of the listener's labels in turn, with the others known. The second
        is what it would be if the listener were known exactly.
        """
        listener = self.table.listener
        found = np.full((2, len(listener), len(RUNGS) + 1), np.nan)
        fold_of_label = _order_in_listener(listener, np.random.default_rng([self.seed, 2])) % LABEL_FOLDS
        for fold in range(LABEL_FOLDS):
            asked = fold_of_label == fold
            if asked.any():
                found[:, asked] = self.losses(~asked, asked)[:, asked]
        measured, lost = (_listener_means(part, listener) for part in found)
        return measured, measured - lost


def measure_ladder(answers: Answers, seed: int = 0, sizes: Sequence[int] = SIZES) -> dict[str, Any] | None:
    """Return `ladder`, `curve` and what else is known of how listeners differ.

    None where fewer than two known listeners have two answers that can be compared. `sizes` are the numbers
    of labels of the curve.
    """
    places, names = _compared_answers(answers, np.random.default_rng(seed))
    if len(names) < 2:
        return None
    pivot = Pivot.of(answers)
    directions, groups = _directions(len(answers.emotions), pivot.place)
    shares, others = others_shares(answers)
    ladder = FittedLadder(_table(answers, places, shares), directions, groups, seed)
    measured, known = ladder.held_out()
    gained, possible = -np.diff(measured, axis=1), -np.diff(known, axis=1)
    # With the answers of fewer others, less is known of an utterance: extrapolated to infinitely many.
    fewer_shares, fewer = others_shares(answers, np.random.default_rng([seed, 4]))
    if (ratio := others / fewer) >= FEWEST_TIMES:
        less_known = FittedLadder(_table(answers, places, fewer_shares), directions, groups, seed)
        less = -np.diff(less_known.held_out()[1], axis=1)
        possible = possible + (possible - less) / (ratio - 1)
    return {
        "ladder_listeners": len(names),
        "pivot": pivot.name,
        "consensus": mean_over_listeners(measured[:, 0]).as_json(),
        "ladder": _rungs(gained, possible),
        "total": _gain(gained.sum(axis=1), possible.sum(axis=1)),
        "curve": [_at_size(size, ladder) for size in sizes],
        "deviations": _deviations(ladder.models, answers.emotions),
        "gain_by_listener": dict(zip(names, gained.sum(axis=1).round(6).tolist(), strict=True)),
    }


def _compared_answers(answers: Answers, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Return the places of the answers of known listeners with at least two, and these listeners' names.

    The answers are sorted by listener.
    """
    usable = answers.is_known[answers.listener]
    counts = np.bincount(answers.listener[usable], minlength=len(answers.listeners))
    order = rng.permutation(len(counts))
    capped = np.minimum(counts, MOST_OF_A_LISTENER) * (counts >= 2)
    kept = np.sort(order[(np.cumsum(capped[order]) <= max(MOST_ANSWERS, capped.max())) & (capped[order] > 0)])
    (places,) = np.nonzero(usable & np.isin(answers.listener, kept))
    places = places[_order_in_listener(answers.listener[places], rng) < MOST_OF_A_LISTENER]
    places = places[np.argsort(answers.listener[places], kind="stable")]
    return places, [answers.listeners[place] for place in kept]


def _table(answers: Answers, places: np.ndarray, shares: np.ndarray) -> AnswerTable:
    """Return the answers at these places beside what the others' answers let expect (num_answers, C)."""
    logs = np.log(shares[places])
    return AnswerTable(
        shares[places],
        logs - logs.mean(axis=0),
        answers.distributions[places],
        np.unique(answers.listener[places], return_inverse=True)[1],
    )


def _order_in_listener(listener: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random order of each listener's answers: 0, 1, 2, ... within each listener (num_answers,)."""
    order = np.lexsort((rng.random(len(listener)), listener))
    _, starts, counts = np.unique(listener[order], return_index=True, return_counts=True)
    ranks = np.empty(len(listener), dtype=np.int64)
    ranks[order] = np.arange(len(listener)) - np.repeat(starts, counts)
    return ranks


def _directions(size: int, pivot: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the effects of all rungs, (num_effects, D), and the group of each (num_effects,).

    Each emotion's bias is a group of its own, and so is each other rung.
    """
    bias = np.tile(np.eye(size), size)
    reliability = np.zeros((1, size * size))
    construal = np.zeros((size, size))
    construal[:, pivot] = 1
    construal[pivot] = 0
    confusion = np.eye(size * size)
    matrices = np.concatenate([bias, reliability, construal.reshape(1, -1), confusion])
    along = np.zeros((len(matrices), 1))
    along[size] = 1
    groups = np.concatenate([np.arange(size), [size, size + 1], np.full(size * size, size + 2)])
    return np.concatenate([matrices, along], axis=1), groups


def _fit_rungs(
    table: AnswerTable, chosen: np.ndarray, directions: np.ndarray, groups: np.ndarray
) -> list[ListenerModel]:
    """Return the fitted model of the consensus and of each rung. Each starts where the one before ended."""
    size = table.shares.shape[1]
    model = fit_model(new_model(size, directions[:0], groups[:0]), table, chosen)
    models = [model]
    for last in range(size - 1, size + len(RUNGS) - 1):
        included = groups <= last
        fresh = new_model(size, directions[included], groups[included])
        variances = fresh.variances.copy()
        # A variance that has become 0 gets another chance, because what it lacked may be there now.
        variances[: len(model.variances)] = np.maximum(
            model.variances, variances[: len(model.variances)] / 10
        )
        model = ListenerModel(model.population, fresh.directions, fresh.groups, variances)
        model = fit_model(model, table, chosen)
        models.append(model)
    return models


def _listener_means(losses: np.ndarray, listener: np.ndarray) -> np.ndarray:
    """Return the mean of the losses that are not nan over each listener with any (listeners, rungs)."""
    asked = np.isfinite(losses[:, 0])
    counts = np.bincount(listener[asked])
    sums = np.stack([np.bincount(listener[asked], weights=column) for column in losses[asked].T], axis=1)
    return sums[counts > 0] / counts[counts > 0, None]


def _gain(gained: np.ndarray, possible: np.ndarray, tests: int = 1) -> dict[str, Any]:
    """Return a gain, from that of each listener with the labels there are, and from what would be possible.

    The mean and the lower end are what these labels gained. The upper end is that of what could be gained if
    each listener and utterance were known exactly (`known`), so that the interval holds for both.
    """
    with_labels, known = _widened(gained, tests), _widened(possible, tests)
    return with_labels.as_json() | {"high": max(with_labels.high, known.high), "known": known.mean}


def _widened(gains: np.ndarray, tests: int = 1) -> Interval:
    """Return the mean over listeners (listeners,), and its interval with RESOLUTION on both sides."""
    gain = mean_over_listeners(gains, tests)
    return Interval(gain.mean, gain.low - RESOLUTION, gain.high + RESOLUTION)


def _rungs(gained: np.ndarray, possible: np.ndarray) -> list[dict[str, Any]]:
    """Return what each rung adds, from each listener's gains and possible gains (listeners, rungs).

    All intervals of the ladder hold together (Bonferroni). A rung adds something if its interval is above 0.
    """
    gains = [_gain(*columns, tests=len(RUNGS)) for columns in zip(gained.T, possible.T, strict=True)]
    return [
        {"name": name, "gain": gain, "adds": gain["low"] > 0} for name, gain in zip(RUNGS, gains, strict=True)
    ]


def _at_size(size: int, ladder: FittedLadder) -> dict[str, Any]:
    """Return the gains after K = `size` labels; in their place None where too few listeners have enough."""
    listener = ladder.table.listener
    enough = np.bincount(listener) >= size + FEWEST_ASKED
    content: dict[str, Any] = {"k": size, "listeners": int(enough.sum()), "gains": None, "total": None}
    if enough.sum() < 2:
        return content
    drawn = []
    for number in range(DRAWS_OF_K):
        order = _order_in_listener(listener, np.random.default_rng([ladder.seed, 3, number]))
        usable, asked = enough[listener], (order >= size) & (order < size + MOST_ASKED)
        found, _ = ladder.losses(usable & (order < size), usable & asked)
        drawn.append(_listener_means(found, listener))
    by_listener = np.mean(drawn, axis=0)
    total = _widened(by_listener[:, 0] - by_listener[:, -1]).as_json()
    gains = [
        {"name": name, "gain": _widened(gained, len(RUNGS)).as_json()}
        for name, gained in zip(RUNGS, -np.diff(by_listener, axis=1).T, strict=True)
    ]
    return content | {"gains": gains, "total": total}


def _deviations(models: Sequence[Sequence[ListenerModel]], emotions: Sequence[str]) -> dict[str, Any]:
    """Return the standard deviations between listeners of each rung's effects, as fitted, in logits.

    Each is that of the rung that adds it, before a later rung explains a part of it.
    """
    fitted = [
        np.sqrt(np.mean([rung.variances for rung in rungs], axis=0)) for rungs in zip(*models, strict=True)
    ]
    bias = dict(zip(emotions, fitted[1].tolist(), strict=True))
    return {"bias": bias} | {
        name: float(deviations[-1]) for name, deviations in zip(RUNGS[1:], fitted[2:], strict=True)
    }
