"""Write the report of results.json: report.md, report.html, plots and LaTeX tables; print it in the terminal.

report.html is one file and fetches nothing. Rows of different settings (SETTING in
`benchmarks.measuring.scores`) stand in separate tables and are never ranked against each other. No figure is
typed by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from benchmarks.measuring.aggregate import single_or_distinct
from benchmarks.reporting.canvas import DARK, LIGHT, data_uri
from benchmarks.reporting.columns import WAYS_TO_DIFFER, Column, glossary
from benchmarks.reporting.comparisons import Comparison, make_comparisons, make_sweeps, overall_verdicts
from benchmarks.reporting.cross_corpus import compare_corpora
from benchmarks.reporting.latex import latex_table
from benchmarks.reporting.page.gains import plain_words
from benchmarks.reporting.page.picture import main_picture
from benchmarks.reporting.route_comparison import CLEAR_FACTOR, compare_routes
from benchmarks.reporting.summary import Row
from benchmarks.reporting.templates import environment
from perser.installed_routes import explain_method
from perser.io.files import write_text_atomic

PROVENANCE = ("commit", "device", "threads", "versions")
"""What the report shows of provenance.json; the rest is long."""

SHOWN_ABOVE = ("title", "notes", "simulated")
"""Parts of `meta` that the report shows elsewhere than in its footer."""

MADE = {"q": "clips asked in an episode (Q)", "limit": "episodes of each file, at most"}
"""Names of parts of `meta` in the footer, where their keys are short."""


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
    ceilings: Sequence[Mapping[str, Any]] = (),
) -> ReportPaths:
    """Write report.md, report.html, plots/*.png and tables/*.tex into `folder`.

    Args:
        results: the content of results.json.
        folder: created if it is missing.
        costs: the content of costs.json; without it no costs are compared.
        provenance: the content of provenance.json.
        ceilings: what the annotations of each corpus say (`benchmarks.ceiling.measure`).
    """
    folder = Path(folder)
    for name in ("plots", "tables"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    comparisons = make_comparisons(results, costs)
    paths = ReportPaths(folder / "report.md", folder / "report.html", [], [])
    images = _write_plots(comparisons, folder)
    paths.plots.extend(folder / name for name in images)
    for comparison in comparisons:
        write_text_atomic(folder / comparison.table_file, latex_table(comparison))
        paths.tables.append(folder / comparison.table_file)
    meta = dict(results.get("meta", {}))
    made = {
        MADE.get(key, key): value
        for key, value in meta.items()
        if key not in SHOWN_ABOVE and value is not None
    }
    content = {
        "meta": meta,
        "made": made | _provenance(provenance or {}),
        "comparisons": comparisons,
        "overall": overall_verdicts(comparisons),
        "cross_corpora": compare_corpora(comparisons),
        "sweeps": make_sweeps(comparisons),
        "route_comparisons": compare_routes(comparisons),
        "clear_factor": CLEAR_FACTOR,
        "ceilings": ceilings,
        "ways_to_differ": WAYS_TO_DIFFER,
        "glossary": glossary([row for comparison in comparisons for row in comparison.rows]),
        "images": images,
    }
    templates = environment()
    content |= _page(comparisons)
    write_text_atomic(paths.markdown, templates.get_template("report.md.jinja").render(content))
    write_text_atomic(paths.html, templates.get_template("report.html.jinja").render(content))
    return paths


def _page(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return what the pages show of each comparison beside its tables, by its title, and of each method.

    The main comparison, with whose picture the page begins, is on the corpus that the models were trained on
    if there is one, and has the largest K.
    """
    methods = {row["method"]: None for comparison in comparisons for row in comparison.rows}
    return {
        "main": max(comparisons, key=lambda each: (each.is_in_corpus, each.k), default=None),
        "pictures": {comparison.title: main_picture(comparison) for comparison in comparisons},
        "words": {comparison.title: plain_words(comparison) for comparison in comparisons},
        "methods": {method: explain_method(method) for method in methods},
    }


def print_tables(results: Mapping[str, Any], console: Console | None = None) -> None:
    """Print each comparison as a table in the terminal, followed by its verdict."""
    console = console or Console()
    if results.get("meta", {}).get("simulated"):
        console.print("Simulated data: these figures say nothing about real people.", style="bold yellow")
    for comparison in make_comparisons(results):
        columns, metric = comparison.columns("terminal"), comparison.headline.metric
        table = RichTable(title=escape(comparison.title), title_justify="left", caption_justify="left")
        for column in columns:
            table.add_column(
                _terminal_heading(column, metric),
                justify="left" if column.key == "method" else "right",
                no_wrap=column.key in ("method", metric),
            )
        for row in comparison.rows:
            cells = [escape(_terminal_cell(column, row, metric)) for column in columns]
            table.add_row(*cells, style="dim" if row["route"] == "trivial" else None)
        console.print(table)
        console.print(comparison.verdict, markup=False, highlight=False)


def _terminal_heading(column: Column, headline: str) -> str:
    if not column.better:
        return column.heading.lower()
    unit = " %" if column.in_percent else ""
    return f"{column.heading}{unit} (95%)" if column.key == headline else column.heading


def _terminal_cell(column: Column, row: Row, headline: str) -> str:
    """Return the cell; only the headline has its interval in the terminal."""
    if column.interval and column.key == headline:
        return f"{column.text(row)} {column.interval(row)}".strip()
    return column.text(row)


def _write_plots(comparisons: Sequence[Comparison], folder: Path) -> dict[str, dict[str, str]]:
    """Write the plots into `folder`; return them by path as `data:` addresses, light and dark."""
    images = {}
    plots = [(comparison.plot_file(plot), plot) for comparison in comparisons for plot in comparison.plots]
    plots += [(sweep.file, sweep.plot) for sweep in make_sweeps(comparisons)]
    for name, plot in plots:
        light = plot.png(LIGHT)
        (folder / name).write_bytes(light)
        images[name] = {"light": data_uri(light), "dark": data_uri(plot.png(DARK))}
    return images


def _provenance(provenance: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return each part of PROVENANCE: the value of all scores files, or a list of the different values."""
    if not provenance:
        return {}
    return {
        name: single_or_distinct(part.get(name) or "not known" for part in provenance.values())
        for name in PROVENANCE
    }
