"""Write the paper's tables: paper_tables.md, paper_tables.html, the tables in LaTeX and Figure 2.

paper_tables.html is one file and fetches nothing. The LaTeX tables need the packages booktabs and graphicx.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.paper.published import METRICS, SCENARIOS, SOURCE
from benchmarks.paper.tables import Curve, PaperPage, PaperTable, TableRow, Value, paper_pages
from benchmarks.reporting.canvas import DARK, LIGHT, Plot, Theme, data_uri, new_figure
from benchmarks.reporting.formats import DASH
from benchmarks.reporting.latex import escaped
from benchmarks.reporting.templates import environment
from perser.io.files import write_text_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_paper_tables(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the paper's tables from results.json into `folder`, one set for each corpus.

    Returns the files; none where no row belongs in the tables.
    """
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


def percent_text(percent: float | None) -> str:
    """Format percent with one decimal."""
    return DASH if percent is None else f"{percent:.1f}"


def signed_text(points: float | None) -> str:
    """Format percentage points with their sign."""
    return DASH if points is None else f"{points:+.1f}".replace("-", "−")  # noqa: RUF001


def compared_text(value: Value) -> str:
    """Format our figure, and in brackets the paper's and the difference where there are any."""
    paper = "" if value.paper is None else f" ({percent_text(value.paper)}, {signed_text(value.difference)})"
    return percent_text(value.ours) + paper


def latex_table(table: PaperTable, page: PaperPage) -> str:
    """Return a `table*` in the paper's layout.

    Where the paper's figures are shown, they and the difference stand under each row of ours.
    """
    width = len(METRICS) * len(table.columns)
    lines = [r"\begin{table*}", r"\centering"]
    lines += [rf"\caption{{{escaped(' '.join([table.title + '.', page.standing, *table.notes]))}}}"]
    lines += [r"\resizebox{\textwidth}{!}{%", rf"\begin{{tabular}}{{l{'r' * width}}}", r"\toprule"]
    lines += _latex_head(table)
    for group in table.groups:
        lines.append(r"\midrule")
        if group.heading:
            lines.append(rf"\multicolumn{{{width + 1}}}{{l}}{{\emph{{{escaped(group.heading)}}}}} \\")
        for row in group.rows:
            lines += _latex_rows(row)
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table*}"]
    return "\n".join(lines) + "\n"


def _latex_head(table: PaperTable) -> list[str]:
    """Return the heading rows: scenario, upstream and metric."""
    scenarios, upstreams, (_, metrics) = table.heads
    return [
        _spanning(*scenarios),
        _rules(scenarios[1]),
        _spanning(*upstreams),
        _rules(upstreams[1]),
        " & ".join(["", *(heading for heading, _ in metrics)]) + r" \\",
    ]


def _spanning(first: str, names: Sequence[tuple[str, int]]) -> str:
    cells = [rf"\multicolumn{{{size}}}{{c}}{{{escaped(name)}}}" for name, size in names]
    return " & ".join([first, *cells]) + r" \\"


def _rules(names: Sequence[tuple[str, int]]) -> str:
    ends = accumulate((size for _, size in names), initial=1)
    return " ".join(rf"\cmidrule(lr){{{start + 1}-{end}}}" for start, end in pairwise(ends))


def _latex_rows(row: TableRow) -> list[str]:
    lines = [[escaped(row.label), *(_latex_number(value.ours) for value in row.values)]]
    if any(value.paper is not None for value in row.values):
        lines.append([r"\quad paper", *(_latex_number(value.paper) for value in row.values)])
        differences = (_latex_number(value.difference, signed=True) for value in row.values)
        lines.append([r"\quad difference", *differences])
    return [" & ".join(line) + r" \\" for line in lines]


def _latex_number(value: float | None, signed: bool = False) -> str:
    if value is None:
        return "--"
    return f"${value:+.1f}$" if signed else f"{value:.1f}"


def figure_2(page: PaperPage) -> Plot:
    """Return the plot of K against the three metrics, with a line for each scenario.

    Crosses are the paper's values, where its figures are shown.
    """
    title = "Figure 2: Meta-PerSER against K, the mean over upstreams"
    return Plot("figure-2", title, lambda theme: _draw(page.curves, theme))


def _draw(curves: list[Curve], theme: Theme) -> Figure:
    figure, first = new_figure(theme, 7.2, rows=len(METRICS))
    sizes = sorted({k for curve in curves for k in curve.sizes})
    for axes, (metric, heading) in zip(figure.axes, METRICS.items(), strict=True):
        for curve, color, mark in zip(curves, theme.routes, "os", strict=False):
            points = [(k, value) for k, value in zip(curve.sizes, curve.values[metric], strict=True)]
            ours = [(k, value.ours) for k, value in points if value.ours is not None]
            axes.plot(*zip(*ours, strict=True), color=color, marker=mark, label=SCENARIOS[curve.scenario])
            for k, value in points:
                if value.paper is not None:
                    axes.plot(k, value.paper, color=color, marker="x", markersize=8, linestyle="")
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
