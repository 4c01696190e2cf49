"""A comparison as a table for a paper: LaTeX with booktabs, nothing but the `tabular`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from benchmarks.reporting.comparisons import Comparison
from benchmarks.reporting.formats import LOWER_IS_BETTER, duration, heading, interval_text, value_text
from benchmarks.reporting.summary import Row, finite

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
    """Methods by macro-F1, trivial rows below a rule; the best of each metric among the methods that hear the
    speech in bold, intervals small. Needs `booktabs`."""
    metrics = comparison.metrics
    best = {name: _best(comparison.rows, name) for name in metrics}
    methods = [_line(row, metrics, best) for row in comparison.rows if row["route"] != "trivial"]
    trivial = [_line(row, metrics, best) for row in comparison.rows if row["route"] == "trivial"]
    headings = ["Method", *map(heading, metrics), "To personalize"]
    return "\n".join(
        [
            # On one line, whatever the corpus is called: what follows a comment's line is no comment.
            f"% {' '.join(comparison.title.split())}: percent, 95% intervals; needs \\usepackage{{booktabs}}",
            rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}",
            r"\toprule",
            " & ".join(map(escaped, headings)) + r" \\",
            r"\midrule",
            *methods,
            *([r"\midrule"] if methods and trivial else []),
            *trivial,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def escaped(text: str) -> str:
    """Text as LaTeX prints it literally."""
    found = re.sub(r"\s+", " ", text)
    return "".join(_ESCAPED.get(sign, sign) for sign in found)


def _line(row: Row, metrics: Sequence[str], best: Mapping[str, str | None]) -> str:
    cells = [escaped(row["method"])]
    for name in metrics:
        one = row["metrics"].get(name)
        value, spread = escaped(value_text(one, name)), escaped(interval_text(one, name))
        value = rf"\textbf{{{value}}}" if best[name] == value_text(one, name) and _heard(row) else value
        cells.append(value + (rf" {{\scriptsize {spread}}}" if spread else ""))
    return " & ".join([*cells, escaped(duration(row.get("seconds_personalize")))]) + r" \\"


def _best(rows: Sequence[Row], metric: str) -> str | None:
    """As it is printed, so that what prints alike is bold alike; None where no method has it."""
    found = [row["metrics"].get(metric) for row in rows if _heard(row)]
    found = [one for one in found if one is not None and finite(one.get("mean"))]
    chosen = min if metric in LOWER_IS_BETTER else max
    return value_text(chosen(found, key=lambda one: one["mean"]), metric) if found else None


def _heard(row: Row) -> bool:
    return row["route"] != "trivial"
