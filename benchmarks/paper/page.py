"""Writes the paper's tables: paper_tables.md, paper_tables.html (one file, nothing fetched), the tables in
LaTeX and Figure 2."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.paper.latex import latex_table
from benchmarks.paper.published import METRICS, SCENARIOS, SOURCE
from benchmarks.paper.tables import Cell, Curve, PaperPage, paper_pages
from benchmarks.reporting.canvas import DARK, LIGHT, Plot, Theme, data_uri, new_figure
from benchmarks.reporting.formats import DASH
from benchmarks.reporting.templates import environment
from perser.io.files import write_text_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_paper_tables(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write what a results.json has of the paper's tables into `folder`; gives the files, none where no row
    fits."""
    pages, written = paper_pages(results), []
    images: dict[str, dict[str, str]] = {}
    for page in pages:
        suffix = "" if page is pages[0] else "_" + re.sub(r"[^a-z0-9]+", "_", page.corpus.lower()).strip("_")
        for number, table in enumerate(page.tables, start=1):
            file = folder / "tables" / f"paper_table_{number}{suffix}.tex"
            write_text_atomic(file, latex_table(table, page))
            written.append(file)
        if page.curves:
            name, plot = f"plots/figure-2{suffix.replace('_', '-')}.png", figure_2(page)
            (folder / "plots").mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(plot.png(LIGHT))
            images[page.corpus] = {"file": name, "title": plot.title} | {
                mode: data_uri(plot.png(theme)) for mode, theme in (("light", LIGHT), ("dark", DARK))
            }
            written.append(folder / name)
    if not pages:
        return []
    templates = environment(Path(__file__).parent)
    templates.filters |= {"percent": percent_text, "signed": signed_text, "compared": compared_text}
    content = {"pages": pages, "images": images, "metrics": METRICS, "scenarios": SCENARIOS, "source": SOURCE}
    for name in ("paper_tables.md", "paper_tables.html"):
        text = templates.get_template(f"{name}.jinja").render(content, title=results["meta"].get("title", ""))
        write_text_atomic(folder / name, text + "\n")
        written.append(folder / name)
    return written


def figure_2(page: PaperPage) -> Plot:
    """K against the three metrics, a line for each scenario; crosses are the paper's, where compared."""
    title = "Figure 2: Meta-PerSER against K, the mean over upstreams"
    return Plot("figure-2", title, lambda theme: _draw(page.curves, theme))


def percent_text(percent: float | None) -> str:
    """Percent with one decimal."""
    return DASH if percent is None else f"{percent:.1f}"


def signed_text(points: float | None) -> str:
    """Points with their sign."""
    return DASH if points is None else f"{points:+.1f}".replace("-", "−")  # noqa: RUF001


def compared_text(cell: Cell) -> str:
    """Ours, and in brackets the paper's and the difference where there are any."""
    beside = "" if cell.paper is None else f" ({percent_text(cell.paper)}, {signed_text(cell.difference)})"
    return percent_text(cell.ours) + beside


def _draw(curves: list[Curve], theme: Theme) -> Figure:
    figure, first = new_figure(theme, 7.2, rows=len(METRICS))
    sizes = sorted({k for curve in curves for k in curve.sizes})
    for axes, (metric, heading) in zip(figure.axes, METRICS.items(), strict=True):
        for curve, color, mark in zip(curves, theme.routes, "os", strict=False):
            points = [(k, cell) for k, cell in zip(curve.sizes, curve.cells[metric], strict=True)]
            ours = [(k, cell.ours) for k, cell in points if cell.ours is not None]
            axes.plot(*zip(*ours, strict=True), color=color, marker=mark, label=SCENARIOS[curve.scenario])
            for k, cell in points:
                if cell.paper is not None:
                    axes.plot(k, cell.paper, color=color, marker="x", markersize=8, linestyle="")
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(k) for k in sizes])
        axes.set_ylabel(f"{heading} (%)")
    figure.axes[-1].set_xlabel("K, enrollment pairs (log.)")
    figure.legend(
        *first.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=2,
        frameon=False,
        labelcolor=theme.ink,
    )
    return figure
