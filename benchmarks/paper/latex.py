"""A table of the paper in LaTeX, with the packages booktabs and graphicx."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from benchmarks.paper.published import METRICS
from benchmarks.paper.tables import Line, PaperPage, PaperTable
from benchmarks.reporting.latex import escaped


def latex_table(table: PaperTable, page: PaperPage) -> str:
    """A `table*` in the paper's layout. Where the paper's figures are compared with, they and the difference
    stand under each row of ours."""
    width = len(METRICS) * len(table.columns)
    lines = [r"\begin{table*}", r"\centering"]
    lines += [rf"\caption{{{escaped(' '.join([table.title + '.', page.standing, *table.notes]))}}}"]
    lines += [r"\resizebox{\textwidth}{!}{%", rf"\begin{{tabular}}{{l{'r' * width}}}", r"\toprule"]
    lines += _head(table)
    for group in table.groups:
        lines.append(r"\midrule")
        if group.heading:
            lines.append(rf"\multicolumn{{{width + 1}}}{{l}}{{\emph{{{escaped(group.heading)}}}}} \\")
        for line in group.lines:
            lines += _body(line)
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table*}"]
    return "\n".join(lines) + "\n"


def _head(table: PaperTable) -> list[str]:
    """Scenario, upstream and metric, one under the other."""
    scenarios, upstreams, (_, metrics) = table.heads
    return [
        _spanning(*scenarios),
        _rules(scenarios[1]),
        _spanning(*upstreams),
        _rules(upstreams[1]),
        " & ".join(["", *(heading for heading, _ in metrics)]) + r" \\",
    ]


def _spanning(first: str, names: Sequence[tuple[str, int]]) -> str:
    cells = [rf"\multicolumn{{{size}}}{{c}}{{{escaped(one)}}}" for one, size in names]
    return " & ".join([first, *cells]) + r" \\"


def _rules(names: Sequence[tuple[str, int]]) -> str:
    ends = accumulate((size for _, size in names), initial=1)
    return " ".join(rf"\cmidrule(lr){{{start + 1}-{end}}}" for start, end in pairwise(ends))


def _body(line: Line) -> list[str]:
    rows = [[escaped(line.label), *(_number(cell.ours) for cell in line.cells)]]
    if any(cell.paper is not None for cell in line.cells):
        rows.append([r"\quad paper", *(_number(cell.paper) for cell in line.cells)])
        rows.append([r"\quad difference", *(_number(cell.difference, signed=True) for cell in line.cells)])
    return [" & ".join(row) + r" \\" for row in rows]


def _number(value: float | None, signed: bool = False) -> str:
    if value is None:
        return "--"
    return f"${value:+.1f}$" if signed else f"{value:.1f}"
