"""Successive halving: find the best of some candidates without trying all of them on everything.

Karnin, Koren and Somekh, "Almost optimal exploration in multi-armed bandits" (2013); here with a guard for
candidates that are not clearly worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

Candidate = TypeVar("Candidate")

CLEAR = 2.0
"""A candidate is clearly worse than another if the mean of their paired differences is more than so many of
its standard errors below zero."""

LEAST_ITEMS = 2
"""Without two differences there is no standard error."""


def successive_halving(
    candidates: Sequence[Candidate],
    scores: Callable[[Candidate, int, int], Sequence[float]],
    num_items: int,
) -> Candidate:
    """Return the candidate with the best mean score over all items; of equal ones the first.

    All candidates are tried on an eighth of the items, at least two. Those in the worse half
    that are clearly worse than the best one are dropped. The rest are tried on twice as many items, and so
    on, until the candidates that are left were tried on all items, or only one is left. So a candidate that
    trying everything would find best can be lost only if it is clearly worse on the items that come first.

    Args:
        candidates: at least one.
        scores: of a candidate on items `start` to `stop - 1`; higher is better. Nothing is asked for twice.
        num_items: how many items there are.
    """
    left = list(range(len(candidates)))
    found: list[list[float]] = [[] for _ in candidates]
    tried = 0
    for stop in stops(num_items):
        for place in left:
            found[place] += scores(candidates[place], tried, stop)
        best_first = sorted(left, key=lambda place: -float(np.mean(found[place])))
        best = best_first[0]
        if stop == num_items:
            break
        better_half = best_first[: -(-len(left) // 2)]
        left = [
            place for place in left if place in better_half or not clearly_worse(found[place], found[best])
        ]
        if len(left) == 1:
            break
        tried = stop
    return candidates[best]


def stops(num_items: int) -> Iterator[int]:
    """Yield how many items are tried in each round, twice as many each time and all at last."""
    stop = max(LEAST_ITEMS, -(-num_items // 8))
    while stop < num_items:
        yield stop
        stop *= 2
    yield num_items


def clearly_worse(scores: Sequence[float], best: Sequence[float]) -> bool:
    """Return whether scores are clearly lower than others on the same items."""
    differences = np.subtract(best, scores)
    standard_error = differences.std(ddof=1) / np.sqrt(len(differences))
    return bool(differences.mean() > CLEAR * standard_error)
