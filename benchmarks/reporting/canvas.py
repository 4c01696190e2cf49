"""Figures, light and dark colors, and marks that the plots of the report share."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.reporting.summary import Row, finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.8
"""Inches: narrow, so that the letters stay legible on a telephone."""

DPI = 160

PALETTE_SIZE = 96
"""Colors of a PNG file: few, which makes it a quarter of the size."""


@dataclass(frozen=True)
class Theme:
    """Colors of a figure; `routes` are assigned to the routes in alphabetical order."""

    background: str
    ink: str
    muted: str
    grid: str
    routes: tuple[str, ...]


LIGHT = Theme("#ffffff", "#1f2328", "#8a929b", "#e3e6ea", ("#0b62a8", "#c2570c", "#1f7a4d", "#8d3f8f"))

DARK = Theme("#1b1f24", "#e6e9ec", "#8b949e", "#343a42", ("#6cb6ff", "#f0a05a", "#5fc792", "#d594d8"))


@dataclass(frozen=True)
class Plot:
    """A figure that can be drawn: the name of its file, a title in words, and a function that draws it."""

    name: str
    title: str
    draw: Callable[[Theme], Figure]

    def png(self, theme: Theme = LIGHT) -> bytes:
        """Return the figure as a PNG file, without a date in it: the same results give the same bytes."""
        from PIL import Image

        drawn, stream = io.BytesIO(), io.BytesIO()
        self.draw(theme).savefig(drawn, format="png", dpi=DPI)
        Image.open(drawn).convert("RGB").quantize(PALETTE_SIZE).save(stream, format="png", optimize=True)
        return stream.getvalue()


def data_uri(png: bytes) -> str:
    """Return a PNG file as a `data:` address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def new_figure(theme: Theme, height: float, rows: int = 1) -> tuple[Figure, Axes]:
    """Return a figure with `rows` axes below each other, and the first of the axes."""
    from matplotlib.figure import Figure  # imported here: it takes a second, which most commands do not need

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


def interval_mark(axes: Axes, y: int, value: Mapping[str, float], color: str, scale: float = 100) -> None:
    """Draw a dot at the mean and a line over the interval, times `scale`: in percent, if nothing is said."""
    if finite(value.get("low")) and finite(value.get("high")):
        axes.plot([scale * value["low"], scale * value["high"]], [y, y], color=color, linewidth=2)
    axes.plot(scale * value["mean"], y, marker="o", color=color, markersize=6, clip_on=False)


def route_colors(rows: Sequence[Row], theme: Theme) -> dict[str, str]:
    """Return a color for each route; trivial rows are muted."""
    present = {row["route"] for row in rows}
    routes = sorted(present - {"trivial"})
    colors = {route: theme.routes[place % len(theme.routes)] for place, route in enumerate(routes)}
    return colors | ({"trivial": theme.muted} if "trivial" in present else {})


def route_legend(figure: Figure, colors: Mapping[str, str], theme: Theme) -> None:
    """Add a legend of the routes' colors above the axes."""
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], color=color, marker="o", linestyle="") for color in colors.values()]
    figure.legend(
        marks,
        list(colors),
        loc="outside upper left",
        ncols=3,
        frameon=False,
        fontsize=10,
        labelcolor=theme.ink,
    )
