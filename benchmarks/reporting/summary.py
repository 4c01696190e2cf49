"""Read values out of the rows and paired differences of results.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from benchmarks.oracles import ROUTE as ORACLE_ROUTE
from perser.installed_routes import PREFIX

Row = Mapping[str, Any]

BASELINES = ("entire-zero", "prior-shift", "bias-scale")
"""Methods that count for no route: one does not personalize, the others only recalibrate its answers."""

ORACLES = tuple(ORACLE_ROUTE.methods)
"""Rows that know how simulated listeners were made: they show what could be gained, and are no methods."""


class Lead(NamedTuple):
    """How much better one row is than another.

    Where `is_adjusted`, the interval holds for all pairs of methods together, so that it may be read of a
    pair that was picked because of its scores.
    """

    mean: float
    low: float
    high: float
    is_adjusted: bool = False


@dataclass(frozen=True)
class Headline:
    """The metric by which the methods of a comparison are ranked."""

    metric: str
    """Its key in `metrics`."""
    name: str
    lower_is_better: bool
    unit: str
    """What stands behind a value; empty for a number by itself."""
    unit_of_differences: str
    scale: float
    """What a value is multiplied by where it is printed or drawn."""

    @property
    def axis(self) -> str:
        """The label of an axis with values."""
        return f"{self.name} ({self.unit.strip()}{', lower is better' if self.lower_is_better else ''})"

    @property
    def best_word(self) -> str:
        return "lowest" if self.lower_is_better else "highest"

    def value(self, row: Row) -> float | None:
        """Return the row's mean, or None where it has none."""
        mean = row["metrics"].get(self.metric, {}).get("mean")
        return mean if finite(mean) else None

    def known_value(self, row: Row) -> float:
        """Return the mean of a row that has one."""
        value = self.value(row)
        assert value is not None
        return value

    def goodness(self, row: Row) -> float:
        """Return a number that is higher for a better row; the row has to have a value."""
        return self.oriented(self.known_value(row))

    def oriented(self, value: float) -> float:
        """Return a value, or a difference of values, so that more is better."""
        return 0.0 - value if self.lower_is_better else value

    def lead(self, a: str, b: str, differences: Sequence[Row]) -> Lead | None:
        """Return how much better a is than b; None where the two were not paired."""
        first, second = (b, a) if self.lower_is_better else (a, b)
        return paired(first, second, differences, self.metric)


LOG_LOSS = Headline("log_loss", "log loss", True, " nats", "nats", 1.0)

MACRO_F1 = Headline("maF1", "macro-F1", False, "%", "points", 100.0)


def headline(rows: Sequence[Row]) -> Headline:
    """Return log loss where all rows have it, or else macro-F1: versions before log loss measured that."""
    return LOG_LOSS if rows and all(LOG_LOSS.value(row) is not None for row in rows) else MACRO_F1


def is_baseline(row: Row) -> bool:
    """Return whether the row is one of BASELINES, whatever its features are standardized by."""
    return str(row["method"]).partition(f"+{PREFIX}")[0] in BASELINES


def is_trivial(row: Row) -> bool:
    """Return whether the row never hears the speech."""
    return row["route"] == "trivial" and row["method"] not in ORACLES


def is_method(row: Row) -> bool:
    """Return whether the row is a method that could be used: neither trivial nor an oracle."""
    return row["route"] != "trivial" and row["method"] not in ORACLES


@dataclass(frozen=True)
class PersonSpread:
    """How much one method's metric differs from person to person."""

    deviation: float
    """Sample standard deviation over persons."""
    worst_person: str
    worst: float
    best_person: str
    best: float


def finite(value: float | None) -> TypeGuard[float]:
    """Return whether there is a number to print."""
    return value is not None and math.isfinite(value)


def best_of_routes(rows: Sequence[Row]) -> list[Row]:
    """Return the best row of each route by the headline, best first.

    Trivial rows, oracles and BASELINES are left out.
    """
    ranking = headline(rows)
    usable = [row for row in rows if is_method(row) and not is_baseline(row)]
    ranked = sorted(
        (row for row in usable if ranking.value(row) is not None),
        key=lambda row: (-ranking.goodness(row), row["method"]),
    )
    best: dict[str, Row] = {}
    for row in ranked:
        best.setdefault(row["route"], row)
    return list(best.values())


def paired(a: str, b: str, differences: Sequence[Row], metric: str = "maF1") -> Lead | None:
    """Return method a minus method b, in whichever order the pair is listed; None if the two were not paired.

    The interval is the adjusted one where there is one.
    """
    for difference in differences:
        names = (difference["a"], difference["b"])
        bounds: list[Any] = [difference.get(name) for name in ("mean", "low", "high")]
        if difference["metric"] != metric or not all(map(finite, bounds)) or {*names} != {a, b}:
            continue
        mean, low, high = bounds
        if adjusted := difference.get("adjusted"):
            low, high = adjusted
        if names == (b, a):
            mean, low, high = 0.0 - mean, 0.0 - high, 0.0 - low  # no negative zero
        return Lead(mean, low, high, bool(adjusted))
    return None


def by_person(row: Row, metric: str) -> dict[str, float]:
    """Return each person's mean of a metric; persons without a number are left out."""
    means = {person: metrics.get(metric) for person, metrics in row.get("by_person", {}).items()}
    return {person: mean for person, mean in means.items() if finite(mean)}


def person_spread(row: Row, ranking: Headline) -> PersonSpread | None:
    """Return the spread of the headline over persons; None with fewer than two persons."""
    means = by_person(row, ranking.metric)
    if len(means) < 2:
        return None
    ranked = sorted(means, key=lambda person: (ranking.oriented(means[person]), person))
    worst, best = ranked[0], ranked[-1]
    deviation = float(np.std(list(means.values()), ddof=1))
    return PersonSpread(deviation, worst, means[worst], best, means[best])
