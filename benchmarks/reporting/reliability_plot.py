"""Plot whether methods are right as often as they say: stated confidence against accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.reporting.canvas import WIDTH, Plot, Theme, new_figure, route_colors
from benchmarks.reporting.person_plots import ZERO
from benchmarks.reporting.summary import Row, best_of_routes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 160
"""Area of the mark of a bin that holds every utterance, in square points."""


def reliability(rows: Sequence[Row]) -> Plot | None:
    """Plot the best method of each route and Entire-Zero; None where no row has bins."""
    methods = [row["method"] for row in best_of_routes(rows)] + [ZERO]
    shown = [row for row in rows if row["method"] in methods and row.get("reliability")]
    if not shown:
        return None
    title = "Reliability: how often the likeliest emotion is right, against how sure the method is"
    return Plot("reliability", title, lambda theme: _draw(shown, rows, theme))


def reliability_points(bins: Sequence[Sequence[float]]) -> np.ndarray:
    """Return, for each bin that is not empty, mean confidence, accuracy and share of the utterances.

    `bins` are those of `perser.metrics.confidence_bins`. Returns (filled bins, 3).
    """
    filled = np.array([counts for counts in bins if counts[0] > 0], dtype=float).reshape(-1, 3)
    count, confidence, right = filled.T
    return np.stack([confidence / count, right / count, count / count.sum()], axis=1)


def _draw(shown: Sequence[Row], rows: Sequence[Row], theme: Theme) -> Figure:
    figure, axes = new_figure(theme, WIDTH + 0.5)
    colors = route_colors(rows, theme)
    axes.plot([0, 100], [0, 100], color=theme.muted, linewidth=1.2, linestyle="--")
    for row in shown:
        confidence, right, share = reliability_points(row["reliability"]).T
        color = theme.muted if row["method"] == ZERO else colors[row["route"]]
        axes.plot(100 * confidence, 100 * right, color=color, linewidth=1.2, label=row["method"])
        axes.scatter(100 * confidence, 100 * right, s=6 + LARGEST * share, color=color, alpha=0.8, zorder=3)
    axes.set(xlim=(0, 102), ylim=(-2, 102), aspect="equal")
    axes.set_xlabel("stated confidence (%)")
    axes.set_ylabel("right (%)")
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=10, labelcolor=theme.ink)
    return figure
