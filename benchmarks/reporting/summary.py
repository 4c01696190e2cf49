"""What is read out of the rows and paired differences of a results.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = Mapping[str, Any]

BASELINES = ("entire-zero", "prior-shift")
"""They stand for no route: one personalizes nothing, the other counts labels and hears no speech."""


@dataclass(frozen=True)
class PersonSpread:
    """How much one method's metric differs from person to person; all are fractions."""

    deviation: float
    """Standard deviation over persons (of the sample)."""
    worst_person: str
    worst: float
    best_person: str
    best: float


def finite(value: float | None) -> bool:
    """Whether there is a number to print."""
    return value is not None and math.isfinite(value)


def score(row: Row) -> float | None:
    """A row's mean macro-F1, or None where it has none."""
    mean = row["metrics"].get("maF1", {}).get("mean")
    return mean if finite(mean) else None


def best_of_routes(rows: Sequence[Row]) -> list[Row]:
    """The method of each route with the highest macro-F1, best first; no trivial row, none of BASELINES."""
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
    """Mean, low and high of method a minus method b, whichever of them was listed first; None where the two
    were not paired."""
    for one in differences:
        bounds = [one.get(name) for name in ("mean", "low", "high")]
        if one["metric"] != metric or not all(map(finite, bounds)):
            continue
        mean, low, high = bounds
        if (one["a"], one["b"]) == (a, b):
            return mean, low, high
        if (one["a"], one["b"]) == (b, a):
            return 0.0 - mean, 0.0 - high, 0.0 - low  # no negative zero
    return None


def by_person(row: Row, metric: str = "maF1") -> dict[str, float]:
    """Each person's mean, those without a number left out; empty where the row does not say."""
    found = {person: metrics.get(metric) for person, metrics in row.get("by_person", {}).items()}
    return {person: value for person, value in found.items() if finite(value)}


def person_spread(row: Row, metric: str = "maF1") -> PersonSpread | None:
    """None with fewer than two persons."""
    found = by_person(row, metric)
    if len(found) < 2:
        return None
    ranked = sorted(found, key=lambda person: (found[person], person))
    worst, best = ranked[0], ranked[-1]
    deviation = float(np.std(list(found.values()), ddof=1))
    return PersonSpread(deviation, worst, found[worst], best, found[best])
