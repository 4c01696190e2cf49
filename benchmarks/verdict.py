"""What a comparison says, in a sentence or two, with no more certainty than its intervals give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def verdict(rows: Sequence[Row], differences: Sequence[Row]) -> str:
    """Which method has the highest macro-F1, by how much, and whether that is more than chance."""
    ranked = [row for row in rows if finite(row["metrics"].get("maF1", {}).get("mean"))]
    ranked.sort(key=_mean, reverse=True)
    methods = [row for row in ranked if row["route"] != "trivial"]
    if not methods:
        return "No method was measured beside the trivial rows, so there is nothing to conclude."
    best, others = ranked[0], ranked[1:]
    if best["route"] == "trivial":
        first = methods[0]
        return (
            f"No method beats the trivial row {best['method']}, which has a macro-F1 of "
            f"{percent(_mean(best))}%; the best method, {first['method']}, has {percent(_mean(first))}%."
        )
    said = f"{best['method']} has the highest macro-F1, {percent(_mean(best))}%{_spread(best)}"
    if others:
        said += _lead(best, others[0], differences)
    said += "."
    trivial = next((row for row in others if row["route"] == "trivial"), None)
    if trivial and trivial is not others[0]:
        said += f" The best trivial row, {trivial['method']}, has {percent(_mean(trivial))}%."
    persons = best.get("persons")
    if persons == 1:
        said += " There is one person in it: the interval says nothing of other people."
    elif persons and persons < 6:
        said += f" With {persons} persons the intervals are rough."
    return said


def finite(value: float | None) -> bool:
    """Whether there is a number to print."""
    return value is not None and math.isfinite(value)


def percent(fraction: float) -> str:
    """A fraction as percent with one decimal, without the sign."""
    return f"{100 * fraction:.1f}"


def points(fraction: float) -> str:
    """A difference of fractions in signed percentage points."""
    return f"{100 * fraction:+.1f}".replace("-", "−")  # noqa: RUF001


def _lead(best: Row, second: Row, differences: Sequence[Row]) -> str:
    """How the best stands to the next, from their paired difference where there is one."""
    low_high = _paired(best["method"], second["method"], differences)
    if low_high is None:
        return f"; next is {second['method']} with {percent(_mean(second))}%, without a paired comparison"
    mean, low, high = low_high
    by = f"{points(mean)} points ({points(low)} to {points(high)} on the same episodes)"
    if low > 0:
        return f", ahead of {second['method']} by {by}"
    return f"; its lead over {second['method']}, {by}, is within chance"


def _paired(a: str, b: str, differences: Sequence[Row]) -> tuple[float, float, float] | None:
    for one in differences:
        bounds = [one.get(name) for name in ("mean", "low", "high")]
        if one["metric"] != "maF1" or not all(map(finite, bounds)):
            continue
        mean, low, high = bounds
        if (one["a"], one["b"]) == (a, b):
            return mean, low, high
        if (one["a"], one["b"]) == (b, a):
            return -mean, -high, -low
    return None


def _spread(row: Row) -> str:
    score = row["metrics"]["maF1"]
    if not (finite(score.get("low")) and finite(score.get("high"))):
        return ""
    return f" (95% interval {percent(score['low'])} to {percent(score['high'])})"


def _mean(row: Row) -> float:
    return row["metrics"]["maF1"]["mean"]
