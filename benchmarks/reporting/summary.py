"""Read values out of the rows and paired differences of results.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = Mapping[str, Any]

BASELINES = ("entire-zero", "prior-shift")
"""Methods that count for no route: one does not personalize, the other counts labels and hears no speech."""


@dataclass(frozen=True)
class PersonSpread:
    """How much one method's metric differs from person to person; all values are fractions."""

    deviation: float
    """Sample standard deviation over persons."""
    worst_person: str
    worst: float
    best_person: str
    best: float


def finite(value: float | None) -> bool:
    """Return whether there is a number to print."""
    return value is not None and math.isfinite(value)


def score(row: Row) -> float | None:
    """Return a row's mean macro-F1, or None where it has none."""
    mean = row["metrics"].get("maF1", {}).get("mean")
    return mean if finite(mean) else None


def best_of_routes(rows: Sequence[Row]) -> list[Row]:
    """Return the row of each route with the highest macro-F1, best first.

    Trivial rows and BASELINES are left out.
    """
    ranked = sorted(
        (
            row
            for row in rows
            if score(row) is not None and row["route"] != "trivial" and row["method"] not in BASELINES
        ),
        key=lambda row: (-score(row), row["method"]),
    )
    best: dict[str, Row] = {}
    for row in ranked:
        best.setdefault(row["route"], row)
    return list(best.values())


def paired(
    a: str, b: str, differences: Sequence[Row], metric: str = "maF1"
) -> tuple[float, float, float] | None:
    """Return mean, low and high of method a minus method b, in whichever order the pair is listed.

    None where the two were not paired.
    """
    for difference in differences:
        bounds = [difference.get(name) for name in ("mean", "low", "high")]
        if difference["metric"] != metric or not all(map(finite, bounds)):
            continue
        mean, low, high = bounds
        if (difference["a"], difference["b"]) == (a, b):
            return mean, low, high
        if (difference["a"], difference["b"]) == (b, a):
            return 0.0 - mean, 0.0 - high, 0.0 - low  # no negative zero
    return None


def by_person(row: Row, metric: str = "maF1") -> dict[str, float]:
    """Return each person's mean of a metric; persons without a number are left out."""
    means = {person: metrics.get(metric) for person, metrics in row.get("by_person", {}).items()}
    return {person: mean for person, mean in means.items() if finite(mean)}


def person_spread(row: Row, metric: str = "maF1") -> PersonSpread | None:
    """Return the spread of a metric over persons; None with fewer than two persons."""
    means = by_person(row, metric)
    if len(means) < 2:
        return None
    ranked = sorted(means, key=lambda person: (means[person], person))
    worst, best = ranked[0], ranked[-1]
    deviation = float(np.std(list(means.values()), ddof=1))
    return PersonSpread(deviation, worst, means[worst], best, means[best])
