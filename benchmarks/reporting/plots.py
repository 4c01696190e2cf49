"""The plots of a comparison. Each function takes its rows and returns a plot, or None if there is nothing to
draw."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.reporting.canvas import Plot, Theme, interval_mark, new_figure, route_colors, route_legend
from benchmarks.reporting.confusion_plot import confusion
from benchmarks.reporting.formats import capitalized
from benchmarks.reporting.person_plots import ZERO, gain_over_zero, route_against_route
from benchmarks.reporting.reliability_plot import reliability
from benchmarks.reporting.summary import (
    LOG_LOSS,
    MACRO_F1,
    Headline,
    Lead,
    Row,
    best_of_routes,
    finite,
    headline,
    is_method,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKS = "os^vD<>P*X"

BY_K = (
    ("log_loss", "log loss", LOG_LOSS.axis),
    ("maF1", "macro-F1", MACRO_F1.axis),
    ("miF1", "micro-F1", "micro-F1 (%)"),
)
"""Metrics that may be plotted against K, with their names and the labels of their axes."""

SHORTEST = 1e-3
"""Seconds: faster methods are drawn at this time, because a logarithmic axis has no zero."""


def plots(rows: Sequence[Row], differences: Sequence[Row]) -> list[Plot]:
    """Return every plot that these rows and paired differences allow."""
    ranking = headline(rows)
    rows = [row for row in rows if ranking.value(row) is not None]
    drawn = (
        _scores(rows, ranking),
        _differences(rows, differences, ranking),
        route_against_route(rows),
        gain_over_zero(rows),
        _enrollment(rows, ranking),
        _time(rows, ranking),
        reliability(rows),
        confusion(rows),
    )
    return [plot for plot in drawn if plot is not None]


def _scores(rows: Sequence[Row], ranking: Headline) -> Plot | None:
    title = f"{capitalized(ranking.name)} of each method, with its 95% interval"
    name = ranking.name.lower().replace(" ", "-")
    return Plot(name, title, lambda theme: _draw_scores(rows, ranking, theme)) if rows else None


def _differences(rows: Sequence[Row], differences: Sequence[Row], ranking: Headline) -> Plot | None:
    methods = [row for row in rows if is_method(row)]
    if not methods:
        return None
    best = max(methods, key=ranking.goodness)["method"]
    worst = ranking.oriented(_worst_shown(rows, ranking))
    others = [row["method"] for row in rows if row["method"] != best and ranking.goodness(row) >= worst]
    known = {other: lead for other in others if (lead := ranking.lead(best, other, differences)) is not None}
    title = f"Lead of {best} over each other method in {ranking.name} on the same episodes, 95% intervals"
    if any(lead.is_adjusted for lead in known.values()):
        title += " that allow for the choice of the best"
    return Plot("differences", title, lambda theme: _draw_leads(known, ranking, theme)) if known else None


def _enrollment(rows: Sequence[Row], ranking: Headline) -> Plot | None:
    by_pairs = {pairs: row for row in rows if (pairs := pairs_read(row)) is not None}
    if len(by_pairs) < 2:
        return None
    title = f"Speech LM: {ranking.name} against the number of enrollment pairs that it reads"
    return Plot(
        "enrollment",
        title,
        lambda theme: _draw_enrollment(by_pairs, ranking, route_colors(rows, theme), theme),
    )


def _time(rows: Sequence[Row], ranking: Headline) -> Plot | None:
    timed = [row for row in rows if finite(row.get("seconds_personalize"))]
    title = f"{capitalized(ranking.name)} against the time to personalize"
    return Plot("time", title, lambda theme: _draw_time(timed, ranking, theme)) if timed else None


def plot_by_k(rows: Sequence[Row]) -> Plot:
    """Plot two metrics of each method against K, from rows that differ only in method and K.

    The metrics are log loss and macro-F1, or macro- and micro-F1 where log loss was not measured.
    """
    shown = BY_K if headline(rows) is LOG_LOSS else BY_K[1:]
    names = " and ".join(name for _, name, _ in shown[:2])
    title = f"{capitalized(names)} against K, the size of the support, with 95% intervals"
    return Plot("by-k", title, lambda theme: _draw_by_k(rows, shown[:2], theme))


def pairs_read(row: Row) -> int | None:
    """Return how many enrollment pairs a `speech-lm-N` reads; None for other methods."""
    numbered = re.fullmatch(r"speech-lm-(\d+)", row["method"])
    return int(numbered[1]) if numbered else None


def _worst_shown(rows: Sequence[Row], ranking: Headline) -> float:
    """Return the worst value that a plot of these rows has room for.

    A trivial row that calls one emotion certain has a log loss many times that of any method.
    """
    if not ranking.lower_is_better:
        return -math.inf
    methods = [row for row in rows if is_method(row)] or rows
    return 1.5 * max(map(ranking.known_value, methods))


def _draw_scores(rows: Sequence[Row], ranking: Headline, theme: Theme) -> Figure:
    rows = sorted(rows, key=ranking.goodness)
    figure, axes = new_figure(theme, 0.34 * len(rows) + 1.3)
    colors = route_colors(rows, theme)
    worst = _worst_shown(rows, ranking)
    for y, row in enumerate(rows):
        value, color = ranking.known_value(row), colors[row["route"]]
        if ranking.oriented(value) >= ranking.oriented(worst):
            interval_mark(axes, y, row["metrics"][ranking.metric], color, ranking.scale)
        else:
            # An arrow from the edge, for what lies far outside.
            place: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "va": "center", "ha": "right"}
            axes.annotate(f"{value:.1f} →", (0.98, y), color=color, fontsize=10, **place)
    axes.set_yticks(range(len(rows)), [row["method"] for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(theme.ink if is_method(row) else theme.muted)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    if not ranking.lower_is_better:
        axes.set_xlim(left=0)
    axes.set_xlabel(ranking.axis)
    route_legend(figure, colors, theme)
    return figure


def _draw_leads(leads: Mapping[str, Lead], ranking: Headline, theme: Theme) -> Figure:
    others = sorted(leads, key=lambda other: leads[other].mean)
    figure, axes = new_figure(theme, 0.36 * len(others) + 1.1)
    axes.axvline(0, color=theme.muted, linewidth=1.2, linestyle="--")
    for y, other in enumerate(others):
        lead = leads[other]
        color = theme.ink if lead.low > 0 or lead.high < 0 else theme.muted
        bounds = {"mean": lead.mean, "low": lead.low, "high": lead.high}
        interval_mark(axes, y, bounds, color, ranking.scale)
    axes.set_yticks(range(len(others)), [f"over {other}" for other in others])
    axes.set_ylim(-0.6, len(others) - 0.4)
    axes.set_xlabel(f"lead in {ranking.name} ({ranking.unit_of_differences}, right is better)")
    return figure


def _draw_enrollment(
    rows: Mapping[int, Row], ranking: Headline, colors: Mapping[str, str], theme: Theme
) -> Figure:
    counts = sorted(rows)
    figure, axes = new_figure(theme, 3.4)
    scores = [rows[count]["metrics"][ranking.metric] for count in counts]
    color = colors[rows[counts[0]]["route"]]
    axes.plot(counts, [ranking.scale * value["mean"] for value in scores], color=color, marker="o")
    if all(finite(value.get("low")) and finite(value.get("high")) for value in scores):
        lows, highs = ([ranking.scale * value[bound] for value in scores] for bound in ("low", "high"))
        axes.fill_between(counts, lows, highs, color=color, alpha=0.18, linewidth=0)
    axes.set_xticks(counts)
    axes.set_xlabel("enrollment pairs read")
    axes.set_ylabel(ranking.axis)
    return figure


def _draw_by_k(rows: Sequence[Row], shown: Sequence[tuple[str, str, str]], theme: Theme) -> Figure:
    from matplotlib import colormaps

    sizes = sorted({row["k"] for row in rows})
    methods = list(dict.fromkeys(row["method"] for row in rows))
    banded = {row["method"] for row in best_of_routes(rows)} | {ZERO}  # bands of all would hide each other
    figure, first = new_figure(theme, 5.4 + 0.09 * len(methods), rows=2)
    listed: Any = colormaps["tab20" if len(methods) > 9 else "tab10"]  # a ListedColormap of tuples
    colors = [color for color in listed.colors if len(set(color)) > 1]  # gray is for trivial rows
    worst = _worst_shown(rows, LOG_LOSS) if shown[0][0] == LOG_LOSS.metric else math.inf
    for axes, (metric, _, label) in zip(figure.axes, shown, strict=True):
        scale = LOG_LOSS.scale if metric == LOG_LOSS.metric else MACRO_F1.scale
        for place, method in enumerate(methods):
            by_k = {row["k"]: row for row in rows if row["method"] == method}
            trivial = any(row["route"] == "trivial" for row in by_k.values())
            color = theme.muted if trivial else colors[place % len(colors)]
            # Side by side, so that intervals do not cover each other.
            shift = 1.012 ** (place - len(methods) / 2)
            values = {k: by_k[k]["metrics"].get(metric, {}) for k in sizes if k in by_k}
            values = {k: _scaled(value, scale) for k, value in values.items() if _fits(value, metric, worst)}
            _draw_method_by_k(
                axes, values, shift, method, color, _MARKS[place % len(_MARKS)], method in banded
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(k) for k in sizes])
        axes.set_ylabel(label)
    figure.axes[-1].set_xlabel("K, enrollment pairs (log.)")
    marks, names = first.get_legend_handles_labels()
    figure.legend(
        marks, names, loc="outside upper left", ncols=3, frameon=False, fontsize=9, labelcolor=theme.ink
    )
    return figure


def _scaled(value: Mapping[str, Any], scale: float) -> dict[str, float]:
    """Return the mean and the bounds of a metric times `scale`."""
    return {name: scale * value[name] for name in ("mean", "low", "high") if finite(value.get(name))}


def _fits(value: Mapping[str, float], metric: str, worst: float) -> bool:
    return metric != LOG_LOSS.metric or (finite(value.get("mean")) and value["mean"] <= worst)


def _draw_method_by_k(
    axes: Axes,
    values: Mapping[int, Mapping[str, float]],
    shift: float,
    label: str,
    color: Any,
    marker: str,
    banded: bool,
) -> None:
    """Draw one method's metric against K: a line through the means, and intervals as a band or as bars."""
    known = [k for k, value in values.items() if finite(value.get("mean"))]
    places = [k * shift for k in known]
    means = [values[k]["mean"] for k in known]
    axes.plot(places, means, color=color, marker=marker, markersize=5, label=label)
    lows, highs = ([values[k].get(bound, math.nan) for k in known] for bound in ("low", "high"))
    if banded and known:
        axes.fill_between(places, lows, highs, color=color, alpha=0.16, linewidth=0)
    elif known:
        axes.vlines(places, lows, highs, color=color, alpha=0.5)


def _draw_time(rows: Sequence[Row], ranking: Headline, theme: Theme) -> Figure:
    from matplotlib.ticker import EngFormatter, NullLocator

    worst = ranking.oriented(_worst_shown(rows, ranking))
    rows = sorted((row for row in rows if ranking.goodness(row) >= worst), key=ranking.known_value)
    figure, axes = new_figure(theme, max(3.4, 0.25 * len(rows) + 1.3))
    colors = route_colors(rows, theme)
    times = [max(row["seconds_personalize"], SHORTEST) for row in rows]
    scores = [ranking.scale * ranking.known_value(row) for row in rows]
    axes.scatter(times, scores, color=[colors[row["route"]] for row in rows], zorder=3)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(unit="s"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(min(times) / 3, max(max(times) * 3, 100 * min(times)))
    axes.margins(y=0.12)
    axes.set_xlabel("time to personalize to one person (log.)")
    axes.set_ylabel(ranking.axis)
    # The names stand in a column at the right, in order of score, with a line to each point: at the points
    # themselves they would lie on top of each other.
    for place, (row, seconds, value) in enumerate(zip(rows, times, scores, strict=True)):
        axes.annotate(
            row["method"],
            (seconds, value),
            xytext=(1.04, (place + 0.5) / len(rows)),
            textcoords="axes fraction",
            va="center",
            color=colors[row["route"]],
            arrowprops={"arrowstyle": "-", "color": theme.muted, "linewidth": 0.6, "relpos": (0, 0.5)},
        )
    route_legend(figure, colors, theme)
    return figure
