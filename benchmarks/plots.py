"""The report's plots. Each takes the rows of one comparison and gives a figure, or None where there is
nothing to draw; `Theme` is the light or the dark half of it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.verdict import Row, finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.8
"""Inches: narrow, so that the letters stay legible on a telephone."""
DPI = 160
_MARKS = "os^vD<>P*X"
SHORTEST = 1e-3
"""Seconds: faster methods are drawn here, since a logarithmic axis has no zero."""


@dataclass(frozen=True)
class Theme:
    """Colours of a figure; `routes` are given to the routes by name."""

    background: str
    ink: str
    muted: str
    grid: str
    routes: tuple[str, ...]


LIGHT = Theme("#ffffff", "#1f2328", "#8a929b", "#e3e6ea", ("#0b62a8", "#c2570c", "#1f7a4d", "#8d3f8f"))
DARK = Theme("#1b1f24", "#e6e9ec", "#8b949e", "#343a42", ("#6cb6ff", "#f0a05a", "#5fc792", "#d594d8"))


@dataclass(frozen=True)
class Plot:
    """A figure that can be drawn: its file's name, what it shows in words, and how to draw it."""

    name: str
    title: str
    draw: Callable[[Theme], Figure]

    def png(self, theme: Theme = LIGHT) -> bytes:
        """The figure as a PNG file."""
        stream = io.BytesIO()
        # No software or date in it: the same results give the same file.
        self.draw(theme).savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
        return stream.getvalue()


def plots(rows: Sequence[Row], differences: Sequence[Row]) -> list[Plot]:
    """The plots that these rows and paired differences give, all in macro-F1."""
    rows = [row for row in rows if score(row) is not None]
    pairs = [one for one in differences if one["metric"] == "maF1" and finite(one.get("mean"))]
    enrolment = {n: row for row in rows if (n := pairs_read(row)) is not None}
    timed = [row for row in rows if finite(row.get("seconds_personalize"))]
    found = []
    if rows:
        title = "Macro-F1 of each method, with its 95% interval"
        found.append(Plot("macro-f1", title, lambda theme: _plot_scores(rows, theme)))
    if pairs:
        title = "Paired differences in macro-F1 on the same episodes, with their 95% intervals"
        found.append(Plot("differences", title, lambda theme: _plot_differences(pairs, theme)))
    if len(enrolment) > 1:
        title = "Speech LM: macro-F1 against the enrolment pairs that it reads"
        found.append(
            Plot("enrolment", title, lambda theme: _plot_enrolment(enrolment, _colours(rows, theme), theme))
        )
    if timed:
        title = "Macro-F1 against the time to personalise"
        found.append(Plot("time", title, lambda theme: _plot_time(timed, theme)))
    return found


def plot_by_k(rows: Sequence[Row]) -> Plot:
    """Macro- and micro-F1 of each method against K, from rows that differ in method and K alone."""
    title = "Macro-F1 and micro-F1 against K, the size of the support, with 95% intervals"
    return Plot("by-k", title, lambda theme: _plot_by_k(rows, theme))


def score(row: Row) -> float | None:
    """A row's mean macro-F1, or None where it has none."""
    mean = row["metrics"].get("maF1", {}).get("mean")
    return mean if finite(mean) else None


def pairs_read(row: Row) -> int | None:
    """How many enrolment pairs a `speech-lm-N` reads; None for other methods."""
    numbered = re.fullmatch(r"speech-lm-(\d+)", row["method"])
    return int(numbered[1]) if numbered else None


def _plot_scores(rows: Sequence[Row], theme: Theme) -> Figure:
    rows = sorted(rows, key=score)
    figure, axes = _figure(theme, 0.34 * len(rows) + 1.3)
    colours = _colours(rows, theme)
    for place, row in enumerate(rows):
        _interval_mark(axes, place, row["metrics"]["maF1"], colours[row["route"]])
    axes.set_yticks(range(len(rows)), [row["method"] for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(theme.muted if row["route"] == "trivial" else theme.ink)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(left=0)
    axes.set_xlabel("macro-F1 (%)")
    _legend(figure, colours, theme)
    return figure


def _plot_differences(differences: Sequence[Row], theme: Theme) -> Figure:
    differences = sorted(differences, key=lambda one: one["mean"])
    figure, axes = _figure(theme, 0.36 * len(differences) + 1.1)
    axes.axvline(0, color=theme.muted, linewidth=1.2, linestyle="--")
    for place, one in enumerate(differences):
        clear = finite(one.get("low")) and (one["low"] > 0 or one["high"] < 0)
        _interval_mark(axes, place, one, theme.ink if clear else theme.muted)
    axes.set_yticks(range(len(differences)), [f"{one['a']} − {one['b']}" for one in differences])  # noqa: RUF001
    axes.set_ylim(-0.6, len(differences) - 0.4)
    axes.set_xlabel("difference in macro-F1 (points)")
    return figure


def _plot_enrolment(rows: Mapping[int, Row], colours: Mapping[str, str], theme: Theme) -> Figure:
    counts = sorted(rows)
    figure, axes = _figure(theme, 3.4)
    scores = [rows[count]["metrics"]["maF1"] for count in counts]
    colour = colours[rows[counts[0]]["route"]]
    axes.plot(counts, [100 * one["mean"] for one in scores], color=colour, marker="o")
    if all(finite(one.get("low")) and finite(one.get("high")) for one in scores):
        bounds = [[100 * one[bound] for one in scores] for bound in ("low", "high")]
        axes.fill_between(counts, *bounds, color=colour, alpha=0.18, linewidth=0)
    axes.set_xticks(counts)
    axes.set_xlabel("enrolment pairs read")
    axes.set_ylabel("macro-F1 (%)")
    return figure


def _plot_by_k(rows: Sequence[Row], theme: Theme) -> Figure:
    from matplotlib import colormaps

    sizes = sorted({row["k"] for row in rows})
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure, first = _figure(theme, 5.4 + 0.09 * len(methods), rows=2)
    colours = colormaps["tab20" if len(methods) > 10 else "tab10"].colors
    for axes, (metric, label) in zip(
        figure.axes, {"maF1": "macro-F1", "miF1": "micro-F1"}.items(), strict=True
    ):
        for place, method in enumerate(methods):
            found = {row["k"]: row["metrics"].get(metric, {}) for row in rows if row["method"] == method}
            known = [k for k in sizes if finite(found.get(k, {}).get("mean"))]
            trivial = any(row["route"] == "trivial" for row in rows if row["method"] == method)
            colour = theme.muted if trivial else colours[place % len(colours)]
            # Side by side, so that intervals do not cover each other.
            places = [k * 1.012 ** (place - len(methods) / 2) for k in known]
            means = [100 * found[k]["mean"] for k in known]
            axes.plot(
                places, means, color=colour, marker=_MARKS[place % len(_MARKS)], markersize=5, label=method
            )
            for at, one in zip(places, (found[k] for k in known), strict=True):
                if finite(one.get("low")) and finite(one.get("high")):
                    axes.plot([at, at], [100 * one["low"], 100 * one["high"]], color=colour, alpha=0.5)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(k) for k in sizes])
        axes.set_ylabel(f"{label} (%)")
    figure.axes[-1].set_xlabel("K, enrolment pairs (log.)")
    marks, names = first.get_legend_handles_labels()
    figure.legend(
        marks, names, loc="outside upper left", ncols=3, frameon=False, fontsize=9, labelcolor=theme.ink
    )
    return figure


def _plot_time(rows: Sequence[Row], theme: Theme) -> Figure:
    rows = sorted(rows, key=score)
    figure, axes = _figure(theme, max(3.4, 0.25 * len(rows) + 1.3))
    colours = _colours(rows, theme)
    times = [max(row["seconds_personalize"], SHORTEST) for row in rows]
    scores = [100 * score(row) for row in rows]
    axes.scatter(times, scores, color=[colours[row["route"]] for row in rows], zorder=3)
    axes.set_xscale("log")
    axes.set_xlim(min(times) / 3, max(max(times) * 3, 100 * min(times)))
    axes.margins(y=0.12)
    axes.set_xlabel("seconds to personalise to one person (log.)")
    axes.set_ylabel("macro-F1 (%)")
    # Names stand in a column at the right, in order of score, each led to its point: names at the points
    # themselves would lie on top of each other.
    for place, (row, seconds, percent) in enumerate(zip(rows, times, scores, strict=True)):
        axes.annotate(
            row["method"],
            (seconds, percent),
            xytext=(1.04, (place + 0.5) / len(rows)),
            textcoords="axes fraction",
            va="center",
            color=colours[row["route"]],
            arrowprops={"arrowstyle": "-", "color": theme.muted, "linewidth": 0.6, "relpos": (0, 0.5)},
        )
    _legend(figure, colours, theme)
    return figure


def _figure(theme: Theme, height: float, rows: int = 1) -> tuple[Figure, Axes]:
    """A figure with its axes under one another, and the first of them."""
    from matplotlib.figure import Figure  # imported here: a second of start-up that most commands never need

    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor=theme.background)
    for place in range(rows):
        axes = figure.add_subplot(rows, 1, place + 1, facecolor=theme.background)
        axes.grid(color=theme.grid, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=theme.ink, labelsize=11, length=0)
        axes.xaxis.label.set(color=theme.ink, size=11)
        axes.yaxis.label.set(color=theme.ink, size=11)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure, figure.axes[0]


def _interval_mark(axes: Axes, place: int, one: Mapping[str, float], colour: str) -> None:
    """A dot at the mean and a line over the interval, in percent."""
    if finite(one.get("low")) and finite(one.get("high")):
        axes.plot([100 * one["low"], 100 * one["high"]], [place, place], color=colour, linewidth=2)
    axes.plot(100 * one["mean"], place, marker="o", color=colour, markersize=6, clip_on=False)


def _colours(rows: Sequence[Row], theme: Theme) -> dict[str, str]:
    present = {row["route"] for row in rows}
    routes = sorted(present - {"trivial"})
    chosen = {route: theme.routes[place % len(theme.routes)] for place, route in enumerate(routes)}
    return chosen | ({"trivial": theme.muted} if "trivial" in present else {})


def _legend(figure: Figure, colours: Mapping[str, str], theme: Theme) -> None:
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], color=colour, marker="o", linestyle="") for colour in colours.values()]
    figure.legend(
        marks,
        list(colours),
        loc="outside upper left",
        ncols=3,
        frameon=False,
        fontsize=10,
        labelcolor=theme.ink,
    )
