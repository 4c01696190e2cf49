"""Say in a few sentences what a comparison shows, with no more certainty than its intervals give."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist, median

from benchmarks.reporting.columns import value_text
from benchmarks.reporting.formats import listed, minus, points
from benchmarks.reporting.summary import (
    LOG_LOSS,
    MACRO_F1,
    ORACLES,
    Headline,
    Lead,
    Row,
    finite,
    headline,
    is_method,
)
from perser.io.terminal import counted

FEW_PERSONS = 6
"""With fewer persons than this, the verdict says that the intervals are rough."""

POWER = 0.8
"""How often a difference that the report could have seen would be found."""


def verdict(rows: Sequence[Row], differences: Sequence[Row]) -> str:
    """Say which method is best by the headline, by how much, and whether that is more than chance."""
    ranking = headline(rows)
    ranked = _ranked(rows, ranking)
    methods = [row for row in ranked if is_method(row)]
    if not methods:
        return "No method was measured beside the trivial rows, so there is nothing to conclude."
    best, others = ranked[0], ranked[1:]
    if not is_method(best):
        first = methods[0]
        return (
            f"No method beats the trivial row {best['method']}, which has a {ranking.name} of "
            f"{_value(best, ranking)}; the best method, {first['method']}, has {_value(first, ranking)}."
        )
    text = f"{best['method']} has the {ranking.best_word} {ranking.name}, {_value(best, ranking)}"
    text += _interval(best, ranking)
    if others:
        text += _lead(best, others[0], differences, ranking)
    text += "." + _gain(best)
    trivial = next((row for row in others if not is_method(row)), None)
    if trivial and trivial is not others[0]:
        text += f" The best trivial row, {trivial['method']}, has {_value(trivial, ranking)}."
    if len(methods) > 2:
        text += _choice(best, [row for row in methods if row is not best], differences, ranking)
    persons = best.get("persons")
    if persons == 1:
        text += " It was measured on one person: the interval says nothing about other people."
    elif persons and persons < FEW_PERSONS:
        text += f" With {persons} persons the intervals are rough."
    if ranking is not LOG_LOSS:
        text += " The methods are ranked by macro-F1 because log loss was not measured."
    return text


def power(rows: Sequence[Row], differences: Sequence[Row]) -> str:
    """Say which difference between two methods this comparison could have seen; empty where none was paired.

    A difference is seen if its interval leaves out 0. The width of the intervals is that of the median pair.
    """
    methods = {row["method"] for row in rows if is_method(row)}
    parts, pairs = [], 0
    for ranking in (LOG_LOSS, MACRO_F1):
        widths = [
            pair["high"] - pair["low"]
            for pair in differences
            if pair["metric"] == ranking.metric
            and {pair["a"], pair["b"]} <= methods
            and finite(pair.get("low"))
            and finite(pair.get("high"))
        ]
        if widths:
            normal, pairs = NormalDist(), len(widths)
            errors = 1 + normal.inv_cdf(POWER) / normal.inv_cdf(0.975)
            smallest = _amount(errors * median(widths) / 2, ranking).lstrip("+")
            parts.append(f"{smallest} of {ranking.name}")
    if not parts:
        return ""
    persons = max((row.get("persons") or 0 for row in rows), default=0)
    who = f"With {counted(persons, 'person')}, a" if persons else "A"
    return (
        f"{who} difference of {' or '.join(parts)} between two methods would have been seen in "
        f"{POWER:.0%} of such comparisons ({'median over ' if pairs > 1 else ''}"
        f"{counted(pairs, 'pair')}); smaller ones may exist without being seen."
    )


def leader(rows: Sequence[Row], differences: Sequence[Row]) -> tuple[str | None, bool]:
    """Return the best row by the headline, and whether all its leads are beyond chance.

    Oracles are left out, and so are rows that it was not paired with, other than the next best.
    """
    ranking = headline(rows)
    names = [row["method"] for row in _ranked(rows, ranking)]
    leads = [ranking.lead(names[0], name, differences) for name in names[1:]]
    clear = bool(leads) and leads[0] is not None and all(lead.low > 0 for lead in leads if lead is not None)
    return (names[0] if names else None), clear


def undecided(best: Row, others: Sequence[Row], differences: Sequence[Row], ranking: Headline) -> list[str]:
    """Return the other methods over which the best one's lead is within chance."""
    leads = {row["method"]: ranking.lead(best["method"], row["method"], differences) for row in others}
    return [name for name, lead in leads.items() if lead is not None and lead.low <= 0]


def lead_text(lead: Lead, ranking: Headline) -> tuple[str, str, str]:
    """Format mean, low and high of a lead: the mean with its unit."""
    return _amount(lead.mean, ranking), _number(lead.low, ranking), _number(lead.high, ranking)


def _ranked(rows: Sequence[Row], ranking: Headline) -> list[Row]:
    usable = [row for row in rows if row["method"] not in ORACLES and ranking.value(row) is not None]
    return sorted(usable, key=ranking.goodness, reverse=True)


def _value(row: Row, ranking: Headline) -> str:
    return value_text(row["metrics"][ranking.metric], ranking.metric) + ranking.unit


def _number(difference: float, ranking: Headline) -> str:
    return points(difference) if ranking is MACRO_F1 else minus(f"{difference:.3f}")


def _amount(difference: float, ranking: Headline) -> str:
    return f"{_number(difference, ranking)} {ranking.unit_of_differences}"


def _lead(best: Row, second: Row, differences: Sequence[Row], ranking: Headline) -> str:
    """Say how far the best is ahead of the second, from their paired difference if there is one."""
    lead = ranking.lead(best["method"], second["method"], differences)
    if lead is None:
        return f"; next is {second['method']} with {_value(second, ranking)}, without a paired comparison"
    mean, low, high = lead_text(lead, ranking)
    by = f"{mean} ({low} to {high} on the same episodes)"
    if lead.low > 0:
        return f", ahead of {second['method']} by {by}"
    return f"; its lead over {second['method']}, {by}, is within chance"


def _choice(best: Row, others: Sequence[Row], differences: Sequence[Row], ranking: Headline) -> str:
    """Say that the best one was chosen, and which others may be as good for all that is known."""
    text = f" It is the best of {len(others) + 1} methods, chosen on these episodes"
    leads = {row["method"]: ranking.lead(best["method"], row["method"], differences) for row in others}
    if not all(lead is not None and lead.is_adjusted for lead in leads.values()):
        return f"{text}; the intervals are not adjusted for this choice."
    close = undecided(best, others, differences, ranking)
    allowed = "with intervals that allow for this choice"
    if not close:
        return f"{text}; {allowed}, its lead over each of them is beyond chance."
    if len(close) == len(others):
        return f"{text}; {allowed}, its lead over none of them is beyond chance."
    return f"{text}; {allowed}, its lead over {listed(close)} is within chance."


def _gain(row: Row) -> str:
    """Say what the row gained over Entire-Zero, as a share of the oracle's gain if that is known."""
    share, gain = (row["metrics"].get(name) for name in ("gain_share", "gain"))
    if row["method"] == "entire-zero" or gain is None or not finite(gain.get("mean")):
        return ""
    nats = f"{_amount(gain['mean'], LOG_LOSS)} ({_bounds(gain, 'gain')})"
    if share is None:
        return f" Over Entire-Zero it gained {nats}."
    of_oracle = (
        f"{value_text(share, 'gain_share')}% ({_bounds(share, 'gain_share')}) of what the oracle gains"
    )
    return f" Over Entire-Zero it gained {nats}, which is {of_oracle}."


def _bounds(value: Row, metric: str) -> str:
    return " to ".join(value_text({"mean": value[bound]}, metric).lstrip("+") for bound in ("low", "high"))


def _interval(row: Row, ranking: Headline) -> str:
    value = row["metrics"][ranking.metric]
    if not (finite(value.get("low")) and finite(value.get("high"))):
        return ""
    low, high = (value_text({"mean": value[bound]}, ranking.metric) for bound in ("low", "high"))
    return f" (95% interval {low} to {high})"
