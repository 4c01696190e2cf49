"""What the report's pictures are drawn on, in light and in dark, and the marks that they share."""

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

COLORS = 96
"""In a picture's palette."""


@dataclass(frozen=True)
class Theme:
    """Colors of a figure; `routes` are given to the routes by name."""

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
        from PIL import Image

        drawn, stream = io.BytesIO(), io.BytesIO()
        self.draw(theme).savefig(drawn, format="png", dpi=DPI)
        # Few colors: a quarter of the size. No software or date in it: the same results give the same file.
        Image.open(drawn).convert("RGB").quantize(COLORS).save(stream, format="png", optimize=True)
        return stream.getvalue()


def data_uri(png: bytes) -> str:
    """A picture as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def new_figure(theme: Theme, height: float, rows: int = 1) -> tuple[Figure, Axes]:
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


def interval_mark(axes: Axes, place: int, one: Mapping[str, float], color: str) -> None:
    """A dot at the mean and a line over the interval, in percent."""
    if finite(one.get("low")) and finite(one.get("high")):
        axes.plot([100 * one["low"], 100 * one["high"]], [place, place], color=color, linewidth=2)
    axes.plot(100 * one["mean"], place, marker="o", color=color, markersize=6, clip_on=False)


def route_colors(rows: Sequence[Row], theme: Theme) -> dict[str, str]:
    present = {row["route"] for row in rows}
    routes = sorted(present - {"trivial"})
    chosen = {route: theme.routes[place % len(theme.routes)] for place, route in enumerate(routes)}
    return chosen | ({"trivial": theme.muted} if "trivial" in present else {})


def route_legend(figure: Figure, colors: Mapping[str, str], theme: Theme) -> None:
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
