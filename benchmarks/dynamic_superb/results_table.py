"""The results of instances as a table, in Markdown and in the terminal."""

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

SHARES = ("accuracy", "wer")


def markdown(results: Mapping[str, Any]) -> str:
    """report.md from the content of a results.json."""
    made = environment(Path(__file__).parent)
    made.filters |= {"figure": figure_text, "share": share_text, "metric": HEADINGS.__getitem__}
    return made.get_template("dynamic_superb.md.jinja").render(results) + "\n"


def print_results(results: Mapping[str, Any], console: Console | None = None) -> None:
    """One row an instance and metric."""
    table = Table()
    table.add_column("instance", overflow="fold")
    table.add_column("metric")
    for heading in ("value (95%)", "outside options", "items", "time"):
        table.add_column(heading, justify="right", no_wrap=heading.startswith("value"))
    for row in results["rows"]:
        for place, (metric, one) in enumerate(row["metrics"].items()):
            first = place == 0
            table.add_row(
                escape(row["instance"]) if first else "",
                HEADINGS[metric],
                figure_text(one, metric),
                share_text(row["outside_options"]) if first else "",
                str(row["items"]) if first else "",
                duration(row["seconds"]) if first else "",
            )
    (console or Console()).print(table)


def figure_text(one: Mapping[str, float | None], metric: str) -> str:
    """A metric and its interval: percent where it is a share, else three digits."""
    mean, low, high = (_number_text(one[name], metric in SHARES) for name in ("mean", "low", "high"))
    return mean if DASH in (mean, low, high) else f"{mean} ({low}{DASH}{high})"


def share_text(share: float | None) -> str:
    return _number_text(share, percentage=True)


def _number_text(value: float | None, percentage: bool) -> str:
    if not finite(value):
        return DASH
    return percent(value) if percentage else f"{value:.3f}"
