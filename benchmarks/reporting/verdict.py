"""What a comparison says, in a sentence or two, with no more certainty than its intervals give."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.reporting.formats import percent, points
from benchmarks.reporting.summary import Row, finite, paired, score


def verdict(rows: Sequence[Row], differences: Sequence[Row]) -> str:
    """Which method has the highest macro-F1, by how much, and whether that is more than chance."""
    ranked = [row for row in rows if score(row) is not None]
    ranked.sort(key=score, reverse=True)
    methods = [row for row in ranked if row["route"] != "trivial"]
    if not methods:
        return "No method was measured beside the trivial rows, so there is nothing to conclude."
    best, others = ranked[0], ranked[1:]
    if best["route"] == "trivial":
        first = methods[0]
        return (
            f"No method beats the trivial row {best['method']}, which has a macro-F1 of "
            f"{percent(score(best))}%; the best method, {first['method']}, has {percent(score(first))}%."
        )
    said = f"{best['method']} has the highest macro-F1, {percent(score(best))}%{_spread(best)}"
    if others:
        said += _lead(best, others[0], differences)
    said += "."
    trivial = next((row for row in others if row["route"] == "trivial"), None)
    if trivial and trivial is not others[0]:
        said += f" The best trivial row, {trivial['method']}, has {percent(score(trivial))}%."
    persons = best.get("persons")
    if persons == 1:
        said += " There is one person in it: the interval says nothing of other people."
    elif persons and persons < 6:
        said += f" With {persons} persons the intervals are rough."
    return said


def _leader(rows: Sequence[Row], differences: Sequence[Row]) -> tuple[str | None, bool]:
    """The row with the highest macro-F1, and whether its lead over the next leaves out 0."""
    ranked = sorted((row for row in rows if score(row) is not None), key=score, reverse=True)
    names = [row["method"] for row in ranked[:2]]
    difference = paired(*names, differences) if len(names) == 2 else None
    return (names[0] if names else None), difference is not None and difference[1] > 0


def _lead(best: Row, second: Row, differences: Sequence[Row]) -> str:
    """How the best stands to the next, from their paired difference where there is one."""
    low_high = paired(best["method"], second["method"], differences)
    if low_high is None:
        return f"; next is {second['method']} with {percent(score(second))}%, without a paired comparison"
    mean, low, high = low_high
    by = f"{points(mean)} points ({points(low)} to {points(high)} on the same episodes)"
    if low > 0:
        return f", ahead of {second['method']} by {by}"
    return f"; its lead over {second['method']}, {by}, is within chance"


def _spread(row: Row) -> str:
    one = row["metrics"]["maF1"]
    if not (finite(one.get("low")) and finite(one.get("high"))):
        return ""
    return f" (95% interval {percent(one['low'])} to {percent(one['high'])})"
