"""Find the best value of a grid that grows where its best value is at an edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from perser.selection.halving import clearly_worse, stops, successive_halving


@dataclass(frozen=True)
class Grid:
    """Values that a setting may have, in ascending order.

    Args:
        values: all of them; the first and the last are the limits.
        start: the first and the last of those that are tried in any case, as places in `values`.
    """

    values: Sequence[float]
    start: tuple[int, int]


@dataclass(frozen=True)
class Found:
    """The best value of a grid.

    Args:
        value: the best one.
        lowest: the lowest value that was tried.
        highest: the highest one.
        at_limit: whether the best one is the lowest or the highest that the grid allows.
    """

    value: float
    lowest: float
    highest: float
    at_limit: bool

    @property
    def text(self) -> str:
        """What was tried, in words."""
        limit = "; the best is at the limit" if self.at_limit else ""
        return f"{self.lowest:g} to {self.highest:g}{limit}"


def search(grid: Grid, scores: Callable[[float, int, int], Sequence[float]], num_items: int) -> Found:
    """Return the value with the best mean score over all items.

    The values of the start are compared by `successive_halving`. Where the best of them is at an edge, the
    value beyond it is tried on the same items, until it is clearly worse or was tried on all. So it goes on
    until one is not better or the grid ends.

    Args:
        grid: the values.
        scores: of a value on items `start` to `stop - 1`; higher is better. Nothing is asked for twice.
        num_items: how many items there are.
    """
    found: dict[int, list[float]] = {}

    def asked(place: int, start: int, stop: int) -> Sequence[float]:
        new = list(scores(grid.values[place], start, stop))
        found[place] = found.get(place, []) + new
        return new

    def first_scores(place: int, stop: int) -> list[float]:
        known = len(found.get(place, ()))
        if known < stop:
            asked(place, known, stop)
        return found[place][:stop]

    def beats(place: int, other: int) -> bool:
        own = of_other = [0.0]
        for stop in stops(num_items):
            own, of_other = first_scores(place, stop), first_scores(other, stop)
            if stop < num_items and clearly_worse(own, of_other):
                return False
        return float(np.mean(own)) > float(np.mean(of_other))

    first, last = grid.start
    best = successive_halving(range(first, last + 1), asked, num_items)
    while True:
        beyond = [best + side for side in (-1, 1) if not first <= best + side <= last]
        beyond = [place for place in beyond if 0 <= place < len(grid.values)]
        first, last = min(first, *beyond, best), max(last, *beyond, best)
        better = next((place for place in beyond if beats(place, best)), None)
        if better is None:
            break
        best = better
    at_limit = best in (0, len(grid.values) - 1)
    return Found(grid.values[best], grid.values[first], grid.values[last], at_limit)
