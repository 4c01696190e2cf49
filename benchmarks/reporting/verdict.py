"""Say in a sentence or two what a comparison shows, with no more certainty than its intervals give."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.oracles import ROUTE as ORACLES
from benchmarks.reporting.formats import percent, points
from benchmarks.reporting.summary import Row, finite, paired, score

FEW_PERSONS = 6
"""With fewer persons than this, the verdict says that the intervals are rough."""


def verdict(rows: Sequence[Row], differences: Sequence[Row]) -> str:
    """Say which method has the highest macro-F1, by how much, and whether that is more than chance."""
    ranked = _ranked(rows)
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
    text = f"{best['method']} has the highest macro-F1, {percent(score(best))}%{_interval(best)}"
    if others:
        text += _lead(best, others[0], differences)
    text += "."
    trivial = next((row for row in others if row["route"] == "trivial"), None)
    if trivial and trivial is not others[0]:
        text += f" The best trivial row, {trivial['method']}, has {percent(score(trivial))}%."
    persons = best.get("persons")
    if persons == 1:
        text += " It was measured on one person: the interval says nothing about other people."
    elif persons and persons < FEW_PERSONS:
        text += f" With {persons} persons the intervals are rough."
    return text


def leader(rows: Sequence[Row], differences: Sequence[Row]) -> tuple[str | None, bool]:
    """Return the method with the highest macro-F1, and whether the interval of its lead leaves out 0."""
    names = [row["method"] for row in _ranked(rows)[:2]]
    difference = paired(*names, differences) if len(names) == 2 else None
    return (names[0] if names else None), difference is not None and difference[1] > 0


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Return the rows by macro-F1, best first, without oracles: they are told what methods have to learn."""
    measured = [row for row in rows if score(row) is not None and row["method"] not in ORACLES.methods]
    return sorted(measured, key=score, reverse=True)


def _lead(best: Row, second: Row, differences: Sequence[Row]) -> str:
    """Say how far the best is ahead of the second, from their paired difference if there is one."""
    difference = paired(best["method"], second["method"], differences)
    if difference is None:
        return f"; next is {second['method']} with {percent(score(second))}%, without a paired comparison"
    mean, low, high = difference
    by = f"{points(mean)} points ({points(low)} to {points(high)} on the same episodes)"
    if low > 0:
        return f", ahead of {second['method']} by {by}"
    return f"; its lead over {second['method']}, {by}, is within chance"


def _interval(row: Row) -> str:
    value = row["metrics"]["maF1"]
    if not (finite(value.get("low")) and finite(value.get("high"))):
        return ""
    return f" (95% interval {percent(value['low'])} to {percent(value['high'])})"
