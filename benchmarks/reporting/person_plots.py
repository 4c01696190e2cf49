"""Plot methods person by person: one route against the other, and the gain of each over Entire-Zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.reporting.canvas import WIDTH, Plot, Theme, new_figure, route_colors
from benchmarks.reporting.formats import capitalized
from benchmarks.reporting.summary import Headline, Row, best_of_routes, by_person, headline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ZERO = "entire-zero"


def route_against_route(rows: Sequence[Row]) -> Plot | None:
    """Plot the best methods of the two best routes, one dot per person; None where there is one route."""
    ranking = headline(rows)
    best = [row for row in best_of_routes(rows) if by_person(row, ranking.metric)][:2]
    if len(best) < 2:
        return None
    first, second = best
    title = f"{capitalized(ranking.name)} of each person: {first['method']} against {second['method']}"
    return Plot("by-person", title, lambda theme: _draw_against(first, second, ranking, theme))


def gain_over_zero(rows: Sequence[Row]) -> Plot | None:
    """Plot what the best of each route gains over Entire-Zero by person; None where either is missing."""
    ranking = headline(rows)
    zero = next((by_person(row, ranking.metric) for row in rows if row["method"] == ZERO), {})
    gains = [(row, _gains(by_person(row, ranking.metric), zero, ranking)) for row in best_of_routes(rows)]
    gains = [(row, points) for row, points in gains if points]
    if not gains:
        return None
    title = "Gain over Entire-Zero, person by person; each method's persons from the least gain to the most"
    return Plot("gain", title, lambda theme: _draw_gains(gains, rows, ranking, theme))


def _gains(own: dict[str, float], zero: dict[str, float], ranking: Headline) -> list[float]:
    """Return the gain of each person in points or nats, sorted."""
    return sorted(
        ranking.oriented(ranking.scale * (value - zero[person]))
        for person, value in own.items()
        if person in zero
    )


def _draw_against(first: Row, second: Row, ranking: Headline, theme: Theme) -> Figure:
    across, up = by_person(second, ranking.metric), by_person(first, ranking.metric)
    scale = ranking.scale
    pairs = [(scale * across[person], scale * up[person]) for person in sorted(up) if person in across]
    figure, axes = new_figure(theme, WIDTH)
    low, high = min(map(min, pairs)), max(map(max, pairs))
    margin = max(0.01 * scale, 0.06 * (high - low))
    ends = [low - margin, high + margin]
    axes.plot(ends, ends, color=theme.muted, linewidth=1.2, linestyle="--")
    axes.scatter([x for x, _ in pairs], [y for _, y in pairs], color=theme.ink, alpha=0.75, s=26, zorder=3)
    above = sum(y > x for x, y in pairs)
    below = sum(y < x for x, y in pairs)
    for count, name, x, y, side, edge in (
        (above, first["method"], 0.03, 0.97, "left", "top"),
        (below, second["method"], 0.97, 0.03, "right", "bottom"),
    ):
        text = f"{name} higher\nfor {count} of {len(pairs)}"
        axes.text(x, y, text, transform=axes.transAxes, ha=side, va=edge, color=theme.ink, fontsize=10)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.set_xlabel(f"{second['method']}: {ranking.axis}")
    axes.set_ylabel(f"{first['method']}: {ranking.axis}")
    return figure


def _draw_gains(
    gains: Sequence[tuple[Row, list[float]]], rows: Sequence[Row], ranking: Headline, theme: Theme
) -> Figure:
    figure, axes = new_figure(theme, 3.6)
    colors = route_colors(rows, theme)
    axes.axhline(0, color=theme.muted, linewidth=1.2, linestyle="--")
    for row, points in gains:
        label = f"{row['method']}: {sum(gain > 0 for gain in points)} of {len(points)} gain"
        places = range(1, len(points) + 1)
        axes.plot(
            places, points, color=colors[row["route"]], marker="o", markersize=4, linewidth=1, label=label
        )
    from matplotlib.ticker import MaxNLocator

    locator = axes.xaxis.get_major_locator()
    assert isinstance(locator, MaxNLocator)  # as that of every linear axis
    locator.set_params(integer=True)
    axes.set_xlabel("persons, from the least gain to the most")
    axes.set_ylabel(f"gain in {ranking.name} ({ranking.unit_of_differences})")
    figure.legend(loc="outside upper left", frameon=False, fontsize=10, labelcolor=theme.ink)
    return figure
