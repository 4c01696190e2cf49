"""Where each route wins, from paired differences and from costs: no win without an interval that leaves out
zero, or a factor that no noise of a clock makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from benchmarks.measuring.scores import SETTING
from benchmarks.reporting.comparisons import Comparison
from benchmarks.reporting.formats import duration, memory, points, size
from benchmarks.reporting.summary import Row, best_of_routes, finite, paired

CLEAR = 2.0
"""Costs are measured once, without an interval: what differs by no larger factor is called alike."""

LEAST_BYTES = 32 * 2**20
"""Resident memory depends by megabytes on what ran before: below this everything counts as this much."""

COSTS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "seconds_personalize": ("Time to personalize", duration),
    "seconds_predict": ("Time of a query", duration),
    "peak_bytes": ("Memory at its peak", memory),
    "moved": ("Parameters of one person", size),
}


@dataclass(frozen=True)
class Line:
    """One quantity: each outcome once, and where it was so."""

    quantity: str
    outcomes: str


@dataclass(frozen=True)
class Wins:
    """Two routes on one person axis, over all settings that have both."""

    person_axis: str
    routes: tuple[str, str]
    lines: list[Line]
    """One for each quantity."""


@dataclass(frozen=True)
class _Meeting:
    """The best methods of two routes in one comparison, the one with the higher macro-F1 first."""

    place: str
    ahead: Row
    behind: Row
    comparison: Comparison


def compare_routes(found: Sequence[Comparison]) -> list[Wins]:
    """Every two routes on every person axis; a listener's and a speaker's settings are never put together."""
    made = []
    for axis in dict.fromkeys(one.person_axis for one in found):
        here = [one for one in found if one.person_axis == axis]
        routes = sorted({row["route"] for one in here for row in best_of_routes(one.rows)})
        for pair in combinations(routes, 2):
            meetings = _meetings(here, pair)
            if meetings:
                lines = [_accuracy(meetings), *(_cost(meetings, name) for name in COSTS)]
                made.append(Wins(axis, pair, [line for line in lines if line]))
    return made


def _meetings(here: Sequence[Comparison], pair: tuple[str, str]) -> list[_Meeting]:
    found = []
    for one in here:
        best = [row for row in best_of_routes(one.rows) if row["route"] in pair]
        if len(best) == 2:
            found.append(_Meeting(_place(one, here), *best, comparison=one))
    return found


def _place(one: Comparison, among: Sequence[Comparison]) -> str:
    """What tells this comparison from the others."""
    differing = [name for name in SETTING if len({getattr(each, name) for each in among}) > 1]
    said = [f"K = {one.k}" if name == "k" else getattr(one, name) for name in differing]
    return ", ".join(part for part in said if part)


def _accuracy(meetings: Sequence[_Meeting]) -> Line:
    outcomes = []
    for one in meetings:
        ahead, behind = one.ahead["method"], one.behind["method"]
        difference = paired(ahead, behind, one.comparison.differences)
        if difference is None:
            outcomes.append(("not paired", one.place, f"{ahead} and {behind}"))
            continue
        mean, low, high = difference
        figures = f"{ahead} minus {behind}: {points(mean)} points, {points(low)} to {points(high)}"
        outcome = f"{one.ahead['route']} is ahead" if low > 0 else "within chance"
        outcomes.append((outcome, one.place, figures))
    return _line("Macro-F1", outcomes)


def _cost(meetings: Sequence[_Meeting], name: str) -> Line | None:
    heading, text = COSTS[name]
    outcomes = []
    for one in meetings:
        costs = [
            (one.comparison.costs.get(row["method"], {}).get(name), row) for row in (one.ahead, one.behind)
        ]
        if not all(finite(value) for value, _ in costs):
            continue
        (less, winner), (more, loser) = sorted(costs, key=lambda each: each[0])
        least = LEAST_BYTES if name == "peak_bytes" else 0
        outcome = f"{winner['route']} takes less" if more > CLEAR * max(less, least) else "alike"
        # At several places the tables have the figures: they hardly differ.
        figures = f"{winner['method']} {text(less)}, {loser['method']} {text(more)}" if not one.place else ""
        outcomes.append((outcome, one.place, figures))
    return _line(heading, outcomes) if outcomes else None


def _line(quantity: str, outcomes: Sequence[tuple[str, str, str]]) -> Line:
    parts = []
    for outcome in dict.fromkeys(outcome for outcome, _, _ in outcomes):
        where = [
            " ".join([*([f"at {place}"] if place else []), *([f"({figures})"] if figures else [])])
            for each, place, figures in outcomes
            if each == outcome
        ]
        parts.append(f"{outcome} {', '.join(where)}")
    return Line(quantity, f"{'; '.join(parts)}.")
