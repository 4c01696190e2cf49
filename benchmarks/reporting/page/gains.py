"""Say who gains from personalization, in numbers and in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measuring.aggregate import ZERO
from benchmarks.reporting.comparisons import Comparison
from benchmarks.reporting.formats import listed
from benchmarks.reporting.summary import LOG_LOSS, Headline, Lead, Row, by_person, is_method
from benchmarks.reporting.verdict import lead_text, leader, undecided
from perser.installed_routes import explain_method


@dataclass(frozen=True)
class Gains:
    """What each person gains from one method over Entire-Zero, by the headline; more is better.

    Args:
        row: The method's row.
        by_person: In nats or points, from the least gain to the most.
        lead: The mean with its interval; None where the two methods were not paired.
    """

    row: Row
    by_person: dict[str, float]
    lead: Lead | None

    @property
    def gaining(self) -> int:
        """How many persons gain."""
        return sum(gain > 0 for gain in self.by_person.values())

    @property
    def mean(self) -> float:
        return sum(self.by_person.values()) / len(self.by_person)


def gains_of(comparison: Comparison) -> list[Gains]:
    """Return the gains of each method, from the highest mean; empty where Entire-Zero was not measured."""
    ranking = comparison.headline
    zero = next((by_person(row, ranking.metric) for row in comparison.rows if row["method"] == ZERO), {})
    found = []
    for row in comparison.rows:
        own = by_person(row, ranking.metric)
        gains = {
            person: ranking.oriented(ranking.scale * (value - zero[person]))
            for person, value in own.items()
            if person in zero
        }
        if gains and is_method(row) and row["method"] != ZERO:
            ordered = dict(sorted(gains.items(), key=lambda gain: (gain[1], gain[0])))
            found.append(Gains(row, ordered, ranking.lead(row["method"], ZERO, comparison.differences)))
    return sorted(found, key=lambda gains: -gains.mean)


def share_text(count: int, total: int, person: str) -> str:
    """Say how many of the persons gain, as a layperson would: in tenths where there are more than ten."""
    if count == total:
        return f"the one {person} gains" if total == 1 else f"all {total} {person}s gain"
    if count == 0:
        return f"the one {person} does not gain" if total == 1 else f"none of the {total} {person}s gains"
    verb = "gains" if count == 1 else "gain"
    if total <= 10:
        return f"{count} of {total} {person}s {verb}"
    tenths = math.floor(10 * count / total + 0.5)
    if tenths in (0, 10):
        return f"{'almost all' if tenths else 'hardly any'} {person}s gain ({count} of {total})"
    return f"about {tenths} of 10 {person}s gain ({count} of {total})"


def plain_words(comparison: Comparison) -> str:
    """Say what a comparison shows without a technical word; empty where no method is the best."""
    methods = [
        row for row in comparison.rows if is_method(row) and comparison.headline.value(row) is not None
    ]
    if not methods or leader(comparison.rows, comparison.differences)[0] in comparison.trivial:
        return ""
    best, others = methods[0], methods[1:]
    if best["method"] == ZERO:
        return (
            f"No method that learns from a {comparison.person_axis}'s own clips answers better than {ZERO}, "
            "which is the same for everybody."
        )
    gains = next((gains for gains in gains_of(comparison) if gains.row is best), None)
    parts = [
        f"{best['method']} has the best answers.",
        *([] if gains is None else [_gain(gains, comparison)]),
    ]
    about = explain_method(best["method"])
    return " ".join(
        [*parts, *_others(comparison, best, others), *([f"How it works: {about}"] if about else [])]
    )


def _gain(gains: Gains, comparison: Comparison) -> str:
    ranking, person = comparison.headline, comparison.person_axis
    shares = share_text(gains.gaining, len(gains.by_person), person)
    clips = "one labeled clip" if comparison.k == 1 else f"{comparison.k} labeled clips"
    text = (
        f"With {clips} of each {person}, {shares}: the answers about other clips are better than those of "
        f"{ZERO}, which is the same for everybody."
    )
    if ranking is LOG_LOSS:
        text += _probabilities(gains, comparison)
    return text + _certainty(gains.lead, ranking)


def _probabilities(gains: Gains, comparison: Comparison) -> str:
    """Say what probability is typically given to what a person heard: log loss, the other way round."""
    zero = next(row for row in comparison.rows if row["method"] == ZERO)
    own, without = (math.exp(-LOG_LOSS.known_value(row)) for row in (gains.row, zero))
    return (
        f" It gives an emotion that was heard a probability of {own:.0%}; {ZERO} gives it {without:.0%} "
        "(geometric means)."
    )


def _certainty(lead: Lead | None, ranking: Headline) -> str:
    """Say whether chance explains the mean gain."""
    if lead is None:
        return ""
    mean, low, high = lead_text(lead, ranking)
    choice = ", which allows for the choice of the best method" if lead.is_adjusted else ""
    by = f"the mean gain is {mean.lstrip('+')} (95% interval {low} to {high}{choice})"
    if lead.low > 0:
        return f" Chance does not explain this: {by}."
    return f" Chance may explain this: {by}."


def _others(comparison: Comparison, best: Row, others: Sequence[Row]) -> list[str]:
    """Say which other methods may be as good."""
    names = undecided(best, others, comparison.differences, comparison.headline)
    if not names:
        return []
    them = "them" if len(names) > 1 else "it"
    return [f"It may be no better than {listed(names)}: chance can explain its lead over {them}."]
