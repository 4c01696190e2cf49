"""From results.json to what a person reads: report.md, report.html (one file, nothing fetched), plots, LaTeX
tables and the table in the terminal.

Rows of different settings (`benchmarks.measuring.scores.SETTING`) stand in separate tables and are never
ranked against each other. No figure here is typed by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from benchmarks.measuring.provenance import one_or_distinct
from benchmarks.reporting.canvas import DARK, LIGHT, data_uri
from benchmarks.reporting.comparisons import Comparison, comparisons, overall, sweeps
from benchmarks.reporting.formats import METRICS, duration, interval_text, value_text
from benchmarks.reporting.latex import latex_table
from benchmarks.reporting.route_comparison import CLEAR, compare_routes
from benchmarks.reporting.summary import Row
from benchmarks.reporting.templates import environment
from perser.io.files import write_text_atomic

ORIGIN = ("commit", "device", "threads", "versions")
"""What the report says of provenance.json; the rest is long."""

TOLD_ABOVE = ("title", "notes", "simulated")
"""Parts of `meta` that the report shows elsewhere."""


@dataclass(frozen=True)
class ReportPaths:
    """Where the report was written."""

    markdown: Path
    html: Path
    plots: list[Path]
    tables: list[Path]
    """LaTeX, one for each comparison."""


def write_report(
    results: Mapping[str, Any],
    folder: Path,
    costs: Sequence[Row] = (),
    provenance: Mapping[str, Mapping[str, Any]] | None = None,
) -> ReportPaths:
    """Write report.md, report.html, plots/*.png and tables/*.tex into `folder`.

    Args:
        results: the content of a results.json.
        folder: made where it is not there.
        costs: the content of a costs.json; without it no costs are compared.
        provenance: the content of a provenance.json.
    """
    folder = Path(folder)
    for name in ("plots", "tables"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    found = comparisons(results, costs)
    paths = ReportPaths(folder / "report.md", folder / "report.html", [], [])
    images = {}
    drawn = [(one.plot_file(plot), plot) for one in found for plot in one.plots]
    for name, plot in [*drawn, *((one.file, one.plot) for one in sweeps(found))]:
        light = plot.png(LIGHT)
        (folder / name).write_bytes(light)
        paths.plots.append(folder / name)
        images[name] = {"light": data_uri(light), "dark": data_uri(plot.png(DARK))}
    for one in found:
        write_text_atomic(folder / one.table_file, latex_table(one))
        paths.tables.append(folder / one.table_file)
    meta = dict(results.get("meta", {}))
    content = {
        "meta": meta,
        "made": {key: value for key, value in meta.items() if key not in TOLD_ABOVE}
        | _origin(provenance or {}),
        "comparisons": found,
        "overall": overall(found),
        "sweeps": sweeps(found),
        "wins": compare_routes(found),
        "clear": CLEAR,
        "glossary": _glossary(found),
        "images": images,
    }
    templates = environment()
    write_text_atomic(paths.markdown, templates.get_template("report.md.jinja").render(content))
    write_text_atomic(paths.html, templates.get_template("report.html.jinja").render(content))
    return paths


def print_table(results: Mapping[str, Any], console: Console | None = None) -> None:
    """The comparisons as tables in the terminal, each with its verdict."""
    console = console or Console()
    if results.get("meta", {}).get("simulated"):
        console.print("Simulated data: these figures say nothing of real people.", style="bold yellow")
    shown = ["maF1", "miF1", "label_accuracy", "balanced_accuracy"]
    for comparison in comparisons(results):
        table = RichTable(title=escape(comparison.title), title_justify="left", caption_justify="left")
        table.add_column("method", no_wrap=True)
        table.add_column("maF1 % (95%)", justify="right", no_wrap=True)
        for name in shown[1:]:
            table.add_column(METRICS[name][0], justify="right")
        table.add_column("to personalize", justify="right")
        for row in comparison.rows:
            first, *rest = [row["metrics"].get(name) for name in shown]
            cells = [f"{value_text(first)} {interval_text(first)}".strip(), *map(value_text, rest)]
            style = "dim" if row["route"] == "trivial" else None
            table.add_row(
                escape(row["method"]), *cells, duration(row.get("seconds_personalize")), style=style
            )
        console.print(table)
        console.print(comparison.verdict, markup=False, highlight=False)


def _origin(provenance: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Each part of ORIGIN as all files of scores have it, or what the different ones have."""
    if not provenance:
        return {}
    return {
        name: one_or_distinct(one.get(name) or "not known" for one in provenance.values()) for name in ORIGIN
    }


def _glossary(found: Sequence[Comparison]) -> list[tuple[str, str]]:
    present = {name for comparison in found for name in comparison.metrics}
    return [meaning for name, meaning in METRICS.items() if name in present]
