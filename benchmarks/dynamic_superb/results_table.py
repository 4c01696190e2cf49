"""Show the results of instances as a table, in Markdown and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.reporting.formats import DASH, duration, percent
from benchmarks.reporting.summary import finite
from benchmarks.reporting.templates import environment

HEADINGS = {"accuracy": "accuracy", "pearson": "Pearson", "mae": "MAE ↓", "wer": "WER ↓"}

IN_PERCENT = ("accuracy", "wer")


def markdown(results: Mapping[str, Any]) -> str:
    """Return report.md from the content of results.json."""
    templates = environment(Path(__file__).parent)
    templates.filters |= {"figure": figure_text, "share": share_text, "metric": HEADINGS.__getitem__}
    return templates.get_template("dynamic_superb.md.jinja").render(results) + "\n"


def print_results(results: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a table with a row for each instance and metric."""
    table = Table()
    table.add_column("instance", overflow="fold")
    table.add_column("metric")
    for heading in ("value (95%)", "outside options", "items", "time"):
        table.add_column(heading, justify="right", no_wrap=heading.startswith("value"))
    for row in results["rows"]:
        for place, (metric, interval) in enumerate(row["metrics"].items()):
            is_first = place == 0
            table.add_row(
                escape(row["instance"]) if is_first else "",
                HEADINGS[metric],
                figure_text(interval, metric),
                share_text(row["outside_options"]) if is_first else "",
                str(row["items"]) if is_first else "",
                duration(row["seconds"]) if is_first else "",
            )
    (console or Console()).print(table)


def figure_text(interval: Mapping[str, float | None], metric: str) -> str:
    """Format a metric and its interval: in percent, or with three decimals."""
    mean, low, high = (_number_text(interval[name], metric in IN_PERCENT) for name in ("mean", "low", "high"))
    return mean if DASH in (mean, low, high) else f"{mean} ({low}{DASH}{high})"


def share_text(share: float | None) -> str:
    """Format a share in percent."""
    return _number_text(share, in_percent=True)


def _number_text(value: float | None, in_percent: bool) -> str:
    if not finite(value):
        return DASH
    return percent(value) if in_percent else f"{value:.3f}"
