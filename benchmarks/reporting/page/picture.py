"""Place the dots of the main picture: a strip for each method, and on it a dot for each person's gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.reporting.comparisons import Comparison
from benchmarks.reporting.page.gains import Gains, gains_of, share_text
from benchmarks.reporting.summary import MACRO_F1, Headline
from benchmarks.reporting.verdict import lead_text

MOST_STRIPS = 25

MOST_OPEN = 5
"""So many strips are seen at once; a press shows the others."""

MOST_DOTS = 100
"""Of more persons, so many are shown, evenly spaced from the least gain to the most."""

MOST_LEVELS = 3
"""Dots that would cover each other are moved up or down by at most so many levels."""

DOT_WIDTH = 1.5
"""Percent of the strip's width."""


@dataclass(frozen=True)
class Dot:
    """One person: `left` in percent of the strip, `level` in steps above (or below) its middle."""

    text: str
    left: float
    level: int


@dataclass(frozen=True)
class Strip:
    """One method: its dots, and where its mean and the interval of the mean stand, in percent."""

    method: str
    route: str
    color: int
    who: str
    dots: list[Dot]
    mean: float
    mean_text: str
    span: tuple[float, float] | None


@dataclass(frozen=True)
class Picture:
    """The main picture of a comparison.

    Args:
        person: Who gains, "listener" or "speaker".
        ticks: Places on the axis in percent, and what stands there.
        zero: Where no gain stands, in percent.
        note: What is left out; empty for nothing.
    """

    person: str
    unit: str
    strips: list[Strip]
    ticks: list[tuple[float, str]]
    zero: float
    note: str

    @property
    def open(self) -> int:
        """How many strips are seen at once: all, where only one more would be hidden."""
        return len(self.strips) if len(self.strips) == MOST_OPEN + 1 else MOST_OPEN


def main_picture(comparison: Comparison) -> Picture | None:
    """Return the picture of who gains by how much over Entire-Zero; None where that is not known."""
    found = gains_of(comparison)
    shown, ranking = found[:MOST_STRIPS], comparison.headline
    if not shown:
        return None
    shares = {gains.row["method"]: _shown(gains.by_person) for gains in shown}
    values = [value for by_person in shares.values() for value in by_person.values()]
    axis = _Axis.around(values)
    colors = _colors(shown)
    strips = [
        _strip(gains, shares[gains.row["method"]], axis, colors[gains.row["route"]], comparison)
        for gains in shown
    ]
    unit = ranking.unit_of_differences
    ticks = [(axis.place(tick), _number(tick, ranking) if tick else "0") for tick in axis.ticks]
    return Picture(comparison.person_axis, unit, strips, ticks, axis.place(0), _note(found, comparison))


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    ticks: list[float]

    @classmethod
    def around(cls, values: Sequence[float]) -> _Axis:
        """Return an axis with room for the values and for 0."""
        from matplotlib.ticker import MaxNLocator

        low, high = min(0.0, *values), max(0.0, *values)
        margin = 0.04 * (high - low) or 1.0
        low, high = low - margin, high + margin
        ticks = MaxNLocator(nbins=5, steps=[1, 2, 5, 10]).tick_values(low, high)
        return cls(low, high, [float(tick) for tick in ticks if low <= tick <= high])

    def place(self, value: float) -> float:
        return round(100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 2)


def _strip(
    gains: Gains, by_person: Mapping[str, float], axis: _Axis, color: int, comparison: Comparison
) -> Strip:
    ranking, lead = comparison.headline, gains.lead
    scale = ranking.scale
    if lead is None:
        mean, text, span = (
            gains.mean,
            f"mean gain {_number(gains.mean, ranking)} {ranking.unit_of_differences}",
            None,
        )
    else:
        first, low, high = lead_text(lead, ranking)
        mean, text = scale * lead.mean, f"mean gain {first} ({low} to {high})"
        span = axis.place(scale * lead.low), axis.place(scale * lead.high)
    places = {person: axis.place(gain) for person, gain in by_person.items()}
    texts = {
        person: f"{person}: {'gains' if gain > 0 else 'loses'} "
        f"{_number(abs(gain), ranking).lstrip('+')} {ranking.unit_of_differences}"
        for person, gain in by_person.items()
    }
    return Strip(
        gains.row["method"],
        gains.row["route"],
        color,
        share_text(gains.gaining, len(gains.by_person), comparison.person_axis),
        [Dot(texts[person], places[person], level) for person, level in _levels(places).items()],
        axis.place(mean),
        text,
        span,
    )


def _levels(places: Mapping[str, float]) -> dict[str, int]:
    """Return a level for each dot, so that dots side by side do not cover each other while there is room."""
    candidates = [0, *(sign * step for step in range(1, MOST_LEVELS + 1) for sign in (1, -1))]
    last: dict[int, float] = {}
    levels = {}
    for person, place in sorted(places.items(), key=lambda dot: dot[1]):
        free = (level for level in candidates if place - last.get(level, -DOT_WIDTH) >= DOT_WIDTH)
        level = next(free, min(candidates, key=lambda level: last.get(level, 0.0)))
        levels[person], last[level] = level, place
    return levels


def _shown(by_person: Mapping[str, float]) -> dict[str, float]:
    """Return at most MOST_DOTS persons, the first and the last among them."""
    if len(by_person) <= MOST_DOTS:
        return dict(by_person)
    persons, last = list(by_person), len(by_person) - 1
    chosen = [persons[round(place * last / (MOST_DOTS - 1))] for place in range(MOST_DOTS)]
    return {person: by_person[person] for person in chosen}


def _colors(shown: Sequence[Gains]) -> dict[str, int]:
    """Return the number of a color for each route, in alphabetical order as in the plots."""
    routes = sorted({gains.row["route"] for gains in shown} - {"trivial"})
    return {route: place % 4 for place, route in enumerate(routes)}


def _number(value: float, ranking: Headline) -> str:
    return f"{value:+.{1 if ranking is MACRO_F1 else 2}f}".replace("-", "−")  # noqa: RUF001


def _note(found: Sequence[Gains], comparison: Comparison) -> str:
    parts = []
    if len(found) > MOST_STRIPS:
        parts.append(f"The {MOST_STRIPS} methods with the highest mean of {len(found)} are shown.")
    most = max(len(gains.by_person) for gains in found)
    if most > MOST_DOTS:
        parts.append(
            f"{MOST_DOTS} of {most} {comparison.person_axis}s are shown, evenly spaced by their gain."
        )
    return " ".join(parts)
