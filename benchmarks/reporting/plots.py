"""The plots of a comparison. Each function takes its rows and returns a plot, or None if there is nothing to
draw."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.reporting.canvas import Plot, Theme, interval_mark, new_figure, route_colors, route_legend
from benchmarks.reporting.confusion_plot import confusion
from benchmarks.reporting.person_plots import ZERO, gain_over_zero, route_against_route
from benchmarks.reporting.reliability_plot import reliability
from benchmarks.reporting.summary import Row, best_of_routes, finite, paired, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKS = "os^vD<>P*X"

SHORTEST = 1e-3
"""Seconds: faster methods are drawn at this time, because a logarithmic axis has no zero."""


def plots(rows: Sequence[Row], differences: Sequence[Row]) -> list[Plot]:
    """Return every plot that these rows and paired differences allow."""
    rows = [row for row in rows if score(row) is not None]
    drawn = (
        _scores(rows),
        _differences(rows, differences),
        route_against_route(rows),
        gain_over_zero(rows),
        _enrollment(rows),
        _time(rows),
        reliability(rows),
        confusion(rows),
    )
    return [plot for plot in drawn if plot is not None]


def _scores(rows: Sequence[Row]) -> Plot | None:
    title = "Macro-F1 of each method, with its 95% interval"
    return Plot("macro-f1", title, lambda theme: _draw_scores(rows, theme)) if rows else None


def _differences(rows: Sequence[Row], differences: Sequence[Row]) -> Plot | None:
    methods = [row for row in rows if row["route"] != "trivial"]
    if not methods:
        return None
    best = max(methods, key=score)["method"]
    pairs = {row["method"]: paired(best, row["method"], differences) for row in rows if row["method"] != best}
    known = {other: bounds for other, bounds in pairs.items() if bounds is not None}
    title = f"{best} minus each other method: differences in macro-F1 on the same episodes, 95% intervals"
    return Plot("differences", title, lambda theme: _draw_differences(known, theme)) if known else None


def _enrollment(rows: Sequence[Row]) -> Plot | None:
    by_pairs = {pairs: row for row in rows if (pairs := pairs_read(row)) is not None}
    if len(by_pairs) < 2:
        return None
    title = "Speech LM: macro-F1 against the number of enrollment pairs that it reads"
    return Plot(
        "enrollment", title, lambda theme: _draw_enrollment(by_pairs, route_colors(rows, theme), theme)
    )


def _time(rows: Sequence[Row]) -> Plot | None:
    timed = [row for row in rows if finite(row.get("seconds_personalize"))]
    title = "Macro-F1 against the time to personalize"
    return Plot("time", title, lambda theme: _draw_time(timed, theme)) if timed else None


def plot_by_k(rows: Sequence[Row]) -> Plot:
    """Plot macro- and micro-F1 of each method against K, from rows that differ only in method and K."""
    title = "Macro-F1 and micro-F1 against K, the size of the support, with 95% intervals"
    return Plot("by-k", title, lambda theme: _draw_by_k(rows, theme))


def pairs_read(row: Row) -> int | None:
    """Return how many enrollment pairs a `speech-lm-N` reads; None for other methods."""
    numbered = re.fullmatch(r"speech-lm-(\d+)", row["method"])
    return int(numbered[1]) if numbered else None


def _draw_scores(rows: Sequence[Row], theme: Theme) -> Figure:
    rows = sorted(rows, key=score)
    figure, axes = new_figure(theme, 0.34 * len(rows) + 1.3)
    colors = route_colors(rows, theme)
    for y, row in enumerate(rows):
        interval_mark(axes, y, row["metrics"]["maF1"], colors[row["route"]])
    axes.set_yticks(range(len(rows)), [row["method"] for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(theme.muted if row["route"] == "trivial" else theme.ink)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(left=0)
    axes.set_xlabel("macro-F1 (%)")
    route_legend(figure, colors, theme)
    return figure


def _draw_differences(differences: Mapping[str, tuple[float, float, float]], theme: Theme) -> Figure:
    others = sorted(differences, key=lambda other: differences[other][0])
    figure, axes = new_figure(theme, 0.36 * len(others) + 1.1)
    axes.axvline(0, color=theme.muted, linewidth=1.2, linestyle="--")
    for y, other in enumerate(others):
        mean, low, high = differences[other]
        color = theme.ink if low > 0 or high < 0 else theme.muted
        interval_mark(axes, y, {"mean": mean, "low": low, "high": high}, color)
    axes.set_yticks(range(len(others)), [f"− {other}" for other in others])  # noqa: RUF001
    axes.set_ylim(-0.6, len(others) - 0.4)
    axes.set_xlabel("difference in macro-F1 (points)")
    return figure


def _draw_enrollment(rows: Mapping[int, Row], colors: Mapping[str, str], theme: Theme) -> Figure:
    counts = sorted(rows)
    figure, axes = new_figure(theme, 3.4)
    scores = [rows[count]["metrics"]["maF1"] for count in counts]
    color = colors[rows[counts[0]]["route"]]
    axes.plot(counts, [100 * value["mean"] for value in scores], color=color, marker="o")
    if all(finite(value.get("low")) and finite(value.get("high")) for value in scores):
        bounds = [[100 * value[bound] for value in scores] for bound in ("low", "high")]
        axes.fill_between(counts, *bounds, color=color, alpha=0.18, linewidth=0)
    axes.set_xticks(counts)
    axes.set_xlabel("enrollment pairs read")
    axes.set_ylabel("macro-F1 (%)")
    return figure


def _draw_by_k(rows: Sequence[Row], theme: Theme) -> Figure:
    from matplotlib import colormaps

    sizes = sorted({row["k"] for row in rows})
    methods = list(dict.fromkeys(row["method"] for row in rows))
    banded = {row["method"] for row in best_of_routes(rows)} | {ZERO}  # bands of all would hide each other
    figure, first = new_figure(theme, 5.4 + 0.09 * len(methods), rows=2)
    listed = colormaps["tab20" if len(methods) > 9 else "tab10"].colors
    colors = [color for color in listed if len(set(color)) > 1]  # gray is for trivial rows
    for axes, (metric, label) in zip(
        figure.axes, {"maF1": "macro-F1", "miF1": "micro-F1"}.items(), strict=True
    ):
        for place, method in enumerate(methods):
            by_k = {row["k"]: row for row in rows if row["method"] == method}
            trivial = any(row["route"] == "trivial" for row in by_k.values())
            color = theme.muted if trivial else colors[place % len(colors)]
            # Side by side, so that intervals do not cover each other.
            shift = 1.012 ** (place - len(methods) / 2)
            values = {k: by_k[k]["metrics"].get(metric, {}) for k in sizes if k in by_k}
            _draw_method_by_k(
                axes, values, shift, method, color, _MARKS[place % len(_MARKS)], method in banded
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(k) for k in sizes])
        axes.set_ylabel(f"{label} (%)")
    figure.axes[-1].set_xlabel("K, enrollment pairs (log.)")
    marks, names = first.get_legend_handles_labels()
    figure.legend(
        marks, names, loc="outside upper left", ncols=3, frameon=False, fontsize=9, labelcolor=theme.ink
    )
    return figure


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
    means = [100 * values[k]["mean"] for k in known]
    axes.plot(places, means, color=color, marker=marker, markersize=5, label=label)
    bounds = [[100 * values[k].get(bound, math.nan) for k in known] for bound in ("low", "high")]
    if banded and known:
        axes.fill_between(places, *bounds, color=color, alpha=0.16, linewidth=0)
    elif known:
        axes.vlines(places, *bounds, color=color, alpha=0.5)


def _draw_time(rows: Sequence[Row], theme: Theme) -> Figure:
    from matplotlib.ticker import EngFormatter, NullLocator

    rows = sorted(rows, key=score)
    figure, axes = new_figure(theme, max(3.4, 0.25 * len(rows) + 1.3))
    colors = route_colors(rows, theme)
    times = [max(row["seconds_personalize"], SHORTEST) for row in rows]
    scores = [100 * score(row) for row in rows]
    axes.scatter(times, scores, color=[colors[row["route"]] for row in rows], zorder=3)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(unit="s"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(min(times) / 3, max(max(times) * 3, 100 * min(times)))
    axes.margins(y=0.12)
    axes.set_xlabel("time to personalize to one person (log.)")
    axes.set_ylabel("macro-F1 (%)")
    # The names stand in a column at the right, in order of score, with a line to each point: at the points
    # themselves they would lie on top of each other.
    for place, (row, seconds, percent) in enumerate(zip(rows, times, scores, strict=True)):
        axes.annotate(
            row["method"],
            (seconds, percent),
            xytext=(1.04, (place + 0.5) / len(rows)),
            textcoords="axes fraction",
            va="center",
            color=colors[row["route"]],
            arrowprops={"arrowstyle": "-", "color": theme.muted, "linewidth": 0.6, "relpos": (0, 0.5)},
        )
    route_legend(figure, colors, theme)
    return figure
