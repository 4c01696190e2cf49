"""Format a comparison as a LaTeX table for a paper: only the `tabular`, with the package booktabs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from benchmarks.reporting.columns import Column
from benchmarks.reporting.comparisons import Comparison
from benchmarks.reporting.summary import LOG_LOSS, Row, finite, is_method

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",  # noqa: RUF001
    "−": "$-$",  # noqa: RUF001
    "↓": r"$\downarrow$",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}


def latex_table(comparison: Comparison) -> str:
    """Return the table: methods by the headline, then oracles and trivial rows below a rule.

    Intervals are in small print. The best value of each metric is bold; trivial rows and oracles never are.
    """
    columns = comparison.columns("latex")
    methods = [row for row in comparison.rows if is_method(row)]
    trivial = [row for row in comparison.rows if not is_method(row)]
    best = {column.key: _best(methods, column) for column in columns}
    # On one line, whatever the corpus is called: a line break would end the comment.
    title = " ".join(comparison.title.split())
    units = "log loss and gain in nats, the rest in percent" if comparison.headline is LOG_LOSS else "percent"
    return "\n".join(
        [
            f"% {title}: {units}, 95% intervals; needs \\usepackage{{booktabs}}",
            rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
            r"\toprule",
            " & ".join(escaped(column.heading) for column in columns) + r" \\",
            r"\midrule",
            *(_line(row, columns, best) for row in methods),
            *([r"\midrule"] if methods and trivial else []),
            *(_line(row, columns, {}) for row in trivial),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def escaped(text: str) -> str:
    """Escape text so that LaTeX prints it literally."""
    return "".join(_ESCAPED.get(sign, sign) for sign in re.sub(r"\s+", " ", text))


def _line(row: Row, columns: Sequence[Column], best: Mapping[str, str | None]) -> str:
    cells = []
    for column in columns:
        text = column.text(row)
        cell = rf"\textbf{{{escaped(text)}}}" if text == best.get(column.key) else escaped(text)
        interval = escaped(column.interval(row)) if column.interval else ""
        cells.append(cell + (rf" {{\scriptsize {interval}}}" if interval else ""))
    return " & ".join(cells) + r" \\"


def _best(rows: Sequence[Row], column: Column) -> str | None:
    """Return a metric's best value as it is printed: rows that print the same are all bold.

    None for a column that is no metric, or that no row has a value of.
    """
    if not column.better:
        return None
    choose = min if column.better == "lower" else max
    measured = [row for row in rows if finite(row["metrics"].get(column.key, {}).get("mean"))]
    best = choose(measured, key=lambda row: row["metrics"][column.key]["mean"], default=None)
    return None if best is None else column.text(best)
