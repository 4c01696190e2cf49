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

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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


def measure_ladder(answers: Answers, seed: int = 0, sizes: Sequence[int] = SIZES) -> dict[str, Any] | None:
    """Return `ladder`, `curve` and what else is known of how listeners differ.

    None where fewer than two known listeners have two answers that can be compared. `sizes` are the numbers
    of labels of the curve.
    """
    table, names = _answer_table(answers, np.random.default_rng(seed))
    if table is None:
        return None
    pivot = Pivot.of(answers)
    directions, groups = _directions(len(answers.emotions), pivot.place)
    fold_of_listener = np.random.default_rng([seed, 1]).permutation(len(names)) % min(
        LISTENER_FOLDS, len(names)
    )
    models = [
        _fit_rungs(table, fold_of_listener[table.listener] != fold, directions, groups)
        for fold in range(fold_of_listener.max() + 1)
    ]

    def losses(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """Return both arrays of `predict` at each rung (2, num_answers, rungs)."""
        found = np.full((2, len(known), len(RUNGS) + 1), np.nan)
        for rung in range(len(RUNGS) + 1):
            for fold, fitted in enumerate(models):
                mine = fold_of_listener[table.listener] == fold
                predicted = predict(fitted[rung], table, known & mine, asked & mine, seed)
                found[:, mine, rung] = np.stack(predicted)[:, mine]
        return found

    held_out = np.full((2, len(table.listener), len(RUNGS) + 1), np.nan)
    fold_of_label = _order_in_listener(table.listener, np.random.default_rng([seed, 2])) % LABEL_FOLDS
    for fold in range(LABEL_FOLDS):
        asked = fold_of_label == fold
        if asked.any():
            held_out[:, asked] = losses(~asked, asked)[:, asked]
    by_listener, lost = (_listener_means(part, table.listener) for part in held_out)
    known = by_listener - lost
    return {
        "ladder_listeners": len(names),
        "pivot": pivot.name,
        "consensus": asdict(mean_over_listeners(by_listener[:, 0])),
        "ladder": _rungs(by_listener, known),
        "total": _gain(by_listener[:, 0] - by_listener[:, -1], known[:, 0] - known[:, -1]),
        "curve": [_at_size(size, table, losses, seed) for size in sizes],
        "deviations": _deviations(models, answers.emotions),
        "gain_by_listener": dict(
            zip(names, (by_listener[:, 0] - by_listener[:, -1]).round(6).tolist(), strict=True)
        ),
    }


def _answer_table(answers: Answers, rng: np.random.Generator) -> tuple[AnswerTable | None, list[str]]:
    """Return the answers of known listeners with at least two, and these listeners' names."""
    usable = answers.is_known[answers.listener]
    counts = np.bincount(answers.listener[usable], minlength=len(answers.listeners))
    order = rng.permutation(len(counts))
    capped = np.minimum(counts, MOST_OF_A_LISTENER) * (counts >= 2)
    kept = np.sort(order[(np.cumsum(capped[order]) <= max(MOST_ANSWERS, capped.max())) & (capped[order] > 0)])
    if len(kept) < 2:
        return None, []
    (places,) = np.nonzero(usable & np.isin(answers.listener, kept))
    places = places[_order_in_listener(answers.listener[places], rng) < MOST_OF_A_LISTENER]
    places = places[np.argsort(answers.listener[places], kind="stable")]
    shares = others_shares(answers)[places]
    logs = np.log(shares)
    table = AnswerTable(
        shares,
        logs - logs.mean(axis=0),
        answers.distributions[places],
        np.unique(answers.listener[places], return_inverse=True)[1],
    )
    return table, [answers.listeners[place] for place in kept]


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


def _gain(held_out: np.ndarray, known: np.ndarray, tests: int = 1) -> dict[str, Any]:
    """Return a gain from that of each listener with the labels there are, and if they were known exactly.

    The mean and the lower end are what these labels gained. The upper end is that of what could be gained if
    each listener were known exactly (`known`), so that the interval holds for both.
    """
    gained, possible = _widened(held_out, tests), _widened(known, tests)
    return asdict(gained) | {"high": max(gained.high, possible.high), "known": possible.mean}


def _widened(gains: np.ndarray, tests: int = 1) -> Interval:
    """Return the mean over listeners (listeners,), and its interval with RESOLUTION on both sides."""
    gain = mean_over_listeners(gains, tests)
    return Interval(gain.mean, gain.low - RESOLUTION, gain.high + RESOLUTION)


def _rungs(by_listener: np.ndarray, known: np.ndarray) -> list[dict[str, Any]]:
    """Return what each rung adds, from the listeners' log losses (listeners, rungs + 1).

    All intervals of the ladder hold together (Bonferroni). A rung adds something if its interval is above 0.
    """
    rungs = []
    for place, name in enumerate(RUNGS):
        gained, possible = (-np.diff(losses, axis=1)[:, place] for losses in (by_listener, known))
        gain = _gain(gained, possible, tests=len(RUNGS))
        rungs.append({"name": name, "gain": gain, "adds": gain["low"] > 0})
    return rungs


def _at_size(
    size: int, table: AnswerTable, losses: Callable[[np.ndarray, np.ndarray], np.ndarray], seed: int
) -> dict[str, Any]:
    """Return the gains after K = `size` labels; in their place None where too few listeners have enough."""
    counts = np.bincount(table.listener)
    enough = counts >= size + FEWEST_ASKED
    content: dict[str, Any] = {"k": size, "listeners": int(enough.sum()), "gains": None, "total": None}
    if enough.sum() < 2:
        return content
    drawn = []
    for number in range(DRAWS_OF_K):
        order = _order_in_listener(table.listener, np.random.default_rng([seed, 3, number]))
        usable = enough[table.listener]
        asked = usable & (order >= size)
        drawn.append(_listener_means(losses(usable & (order < size), asked)[0], table.listener))
    by_listener = np.mean(drawn, axis=0)
    total = asdict(_widened(by_listener[:, 0] - by_listener[:, -1]))
    gains = [
        {"name": name, "gain": asdict(_widened(gained, len(RUNGS)))}
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
