"""Compare routes with each other, by the accuracy and the costs of their best methods.

A route is called ahead only where the interval of the paired difference leaves out 0, and cheaper only by a
factor that timing noise does not reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from benchmarks.measuring.scores import SETTING
from benchmarks.reporting.comparisons import Comparison
from benchmarks.reporting.formats import capitalized, duration, memory, size
from benchmarks.reporting.summary import Row, best_of_routes, finite
from benchmarks.reporting.verdict import lead_text

CLEAR_FACTOR = 2.0
"""Costs are measured once and have no interval: those within this factor are reported as alike."""

LEAST_BYTES = 32 * 2**20
"""Resident memory depends by some megabytes on what ran before: smaller values are raised to this one."""

COSTS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "seconds_personalize": ("Time to personalize", duration),
    "seconds_predict": ("Time of a query", duration),
    "peak_bytes": ("Memory at its peak", memory),
    "moved": ("Parameters of one person", size),
}
"""Keys of costs.json: the name in the report, and how the value is printed."""


@dataclass(frozen=True)
class QuantityOutcome:
    """How two routes compare in one quantity: each outcome once, with the settings where it was so."""

    quantity: str
    outcomes: str


@dataclass(frozen=True)
class RouteComparison:
    """Two routes on one person axis, over all settings that have both."""

    person_axis: str
    routes: tuple[str, str]
    quantities: list[QuantityOutcome]


@dataclass(frozen=True)
class _Pair:
    """The best methods of two routes in one comparison, the better one by the headline first."""

    setting: str
    """What tells this comparison from the others; empty where there are no others."""
    ahead: Row
    behind: Row
    comparison: Comparison


def compare_routes(comparisons: Sequence[Comparison]) -> list[RouteComparison]:
    """Compare every two routes on every person axis. Listeners and speakers are never put together."""
    compared = []
    for axis in dict.fromkeys(comparison.person_axis for comparison in comparisons):
        same_axis = [comparison for comparison in comparisons if comparison.person_axis == axis]
        routes = sorted({row["route"] for each in same_axis for row in best_of_routes(each.rows)})
        for two in combinations(routes, 2):
            pairs = _pairs(same_axis, two)
            if pairs:
                outcomes = [_accuracy(pairs), *(_cost(pairs, name) for name in COSTS)]
                compared.append(RouteComparison(axis, two, [outcome for outcome in outcomes if outcome]))
    return compared


def _pairs(same_axis: Sequence[Comparison], routes: tuple[str, str]) -> list[_Pair]:
    pairs = []
    for comparison in same_axis:
        best = [row for row in best_of_routes(comparison.rows) if row["route"] in routes]
        if len(best) == 2:
            ahead, behind = best
            pairs.append(_Pair(_differing_setting(comparison, same_axis), ahead, behind, comparison))
    return pairs


def _differing_setting(comparison: Comparison, others: Sequence[Comparison]) -> str:
    """Name the parts of the comparison's setting in which the others differ."""
    names = [name for name in SETTING if len({getattr(each, name) for each in others}) > 1]
    parts = [f"K = {comparison.k}" if name == "k" else getattr(comparison, name) for name in names]
    return ", ".join(part for part in parts if part)


def _accuracy(pairs: Sequence[_Pair]) -> QuantityOutcome:
    outcomes = []
    for pair in pairs:
        ahead, behind = pair.ahead["method"], pair.behind["method"]
        ranking = pair.comparison.headline
        lead = ranking.lead(ahead, behind, pair.comparison.differences)
        if lead is None:
            outcomes.append(("not paired", pair.setting, f"{ahead} and {behind}"))
            continue
        mean, low, high = lead_text(lead, ranking)
        pair_text = f"{behind} minus {ahead}" if ranking.lower_is_better else f"{ahead} minus {behind}"
        outcome = f"{pair.ahead['route']} is ahead" if lead.low > 0 else "within chance"
        outcomes.append((outcome, pair.setting, f"{pair_text}: {mean}, {low} to {high}"))
    names = dict.fromkeys(pair.comparison.headline.name for pair in pairs)
    title = " or ".join(names)
    return _join(capitalized(title), outcomes)


def _cost(pairs: Sequence[_Pair], name: str) -> QuantityOutcome | None:
    """Compare one cost; None where it was measured for no pair."""
    quantity, text = COSTS[name]
    outcomes = []
    for pair in pairs:
        measured = pair.comparison.costs
        asked = [(measured.get(row["method"], {}).get(name), row) for row in (pair.ahead, pair.behind)]
        costs = [(value, row) for value, row in asked if finite(value)]
        if len(costs) < len(asked):
            continue
        (less, cheaper), (more, dearer) = sorted(costs, key=lambda cost: cost[0])
        least = LEAST_BYTES if name == "peak_bytes" else 0
        is_clear = more > CLEAR_FACTOR * max(less, least)
        outcome = f"{cheaper['route']} takes less" if is_clear else "alike"
        # With several settings the figures hardly differ, and the tables have them.
        figures = "" if pair.setting else f"{cheaper['method']} {text(less)}, {dearer['method']} {text(more)}"
        outcomes.append((outcome, pair.setting, figures))
    return _join(quantity, outcomes) if outcomes else None


def _join(quantity: str, outcomes: Sequence[tuple[str, str, str]]) -> QuantityOutcome:
    """Join (outcome, setting, figures) into one sentence, with each outcome once."""
    parts = []
    for outcome in dict.fromkeys(outcome for outcome, _, _ in outcomes):
        where = [
            " ".join([*([f"at {setting}"] if setting else []), *([f"({figures})"] if figures else [])])
            for same, setting, figures in outcomes
            if same == outcome
        ]
        parts.append(f"{outcome} {', '.join(where)}")
    return QuantityOutcome(quantity, f"{'; '.join(parts)}.")
