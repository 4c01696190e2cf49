"""Plot which emotions the best method confuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.reporting.canvas import WIDTH, Plot, Theme, new_figure
from benchmarks.reporting.summary import Row, headline, is_method

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion(rows: Sequence[Row]) -> Plot | None:
    """Plot the best method by the headline, without trivial rows; None where no row has counts."""
    ranking = headline(rows)
    counted = [
        row
        for row in rows
        if is_method(row) and ranking.value(row) is not None and row.get("confusion") and row.get("emotions")
    ]
    if not counted:
        return None
    best = max(counted, key=ranking.goodness)
    title = f"{best['method']}: emotion heard (rows) and likeliest emotion (columns), percent of the row"
    return Plot("confusion", title, lambda theme: _draw(best, theme))


def row_shares(counts: Sequence[Sequence[float]]) -> np.ndarray:
    """Return counts (C, C) as shares of their row; the row of an emotion that nobody heard is all zero."""
    table = np.array(counts, dtype=float)
    totals = table.sum(axis=1, keepdims=True)
    return np.divide(table, totals, out=np.zeros_like(table), where=totals > 0)


def _draw(row: Row, theme: Theme) -> Figure:
    from matplotlib.colors import LinearSegmentedColormap

    shares, names = row_shares(row["confusion"]), row["emotions"]
    figure, axes = new_figure(theme, WIDTH)
    shades = LinearSegmentedColormap.from_list("shares", [theme.background, theme.routes[0]])
    axes.imshow(shares, cmap=shades, vmin=0, vmax=1)
    axes.grid(visible=False)
    small = 9 if len(names) <= 7 else 7.5
    for (heard, likeliest), share in np.ndenumerate(shares):
        color = theme.background if share > 0.55 else theme.ink
        axes.text(
            likeliest, heard, f"{100 * share:.0f}", ha="center", va="center", color=color, fontsize=small
        )
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylabel("heard")
    axes.set_xlabel("likeliest")
    return figure
