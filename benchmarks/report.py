"""From results.json to what a person reads: report.md, report.html (one file, nothing fetched), plots and
the table in the terminal.

Rows that differ in corpus, scenario, person axis or K stand in separate tables and are never ranked
against each other. No figure here is typed by hand.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from benchmarks.plots import DARK, LIGHT, Plot, plot_by_k, plots, score
from benchmarks.verdict import Row, finite, percent, points, verdict
from perser.folders import write_text_whole

DASH = "–"  # noqa: RUF001

METRICS = {
    "maF1": ("maF1", "macro-F1: F1 of each emotion, averaged over the emotions; an absent emotion counts 0"),
    "miF1": ("miF1", "micro-F1: F1 over all emotions of all utterances pooled"),
    "label_accuracy": (
        "UA",
        "label accuracy, as the Meta-PerSER paper uses the letters: the share of single yes/no decisions "
        "that are right. A method that names no emotion at all scores high on it: never read it alone",
    ),
    "balanced_accuracy": (
        "Bal. acc.",
        "balanced accuracy: the same decisions, given and not-given labels weighted alike; a guess has 50",
    ),
    "uar": ("UAR", "recall of the likeliest emotion, averaged over emotions (single-label corpora)"),
    "wa": ("WA", "accuracy of the likeliest emotion (single-label corpora)"),
    "brier": ("Brier ↓", "squared distance of the probabilities to the labels, 0 to 2; lower is better"),
    "ece": (
        "ECE ↓",
        "expected calibration error: stated confidence against how often it is right; lower is better",
    ),
}
"""Metric to its column's heading and what it means, in the order of the columns."""


@dataclass(frozen=True)
class ReportPaths:
    """Where the report was written."""

    markdown: Path
    html: Path
    plots: list[Path]


@dataclass(frozen=True)
class Comparison:
    """The rows that may be ranked against each other: one corpus, scenario, person axis and K."""

    corpus: str
    scenario: str
    person_axis: str
    k: int
    rows: list[Row]
    """Methods by macro-F1, best first; trivial rows after them."""
    differences: list[Row]
    """By metric, then the largest first."""

    @property
    def title(self) -> str:
        return f"{self.corpus}, {self.scenario}, personalised to the {self.person_axis}, K = {self.k}"

    @property
    def metrics(self) -> list[str]:
        """The metrics that any row has, in the order of METRICS; others after them."""
        present = {name for row in self.rows for name in row["metrics"]}
        return [name for name in METRICS if name in present] + sorted(present - METRICS.keys())

    @property
    def trivial(self) -> set[str]:
        """The methods that never hear the speech."""
        return {row["method"] for row in self.rows if row["route"] == "trivial"}

    @property
    def verdict(self) -> str:
        return verdict(self.rows, self.differences)

    @property
    def plots(self) -> list[Plot]:
        return plots(self.rows, self.differences)

    def plot_file(self, plot: Plot) -> str:
        """A plot's path inside the report's folder."""
        return _plot_file(plot, self.corpus, self.scenario, self.person_axis, f"k{self.k}")


@dataclass(frozen=True)
class Sweep:
    """Comparisons that differ in K alone. Within one K methods are ranked; across K they are drawn."""

    comparisons: list[Comparison]

    @property
    def title(self) -> str:
        one = self.comparisons[0]
        sizes = ", ".join(str(each.k) for each in self.comparisons)
        return f"{one.corpus}, {one.scenario}, personalised to the {one.person_axis}, K = {sizes}"

    @property
    def plot(self) -> Plot:
        return plot_by_k([row for one in self.comparisons for row in one.rows])

    @property
    def file(self) -> str:
        one = self.comparisons[0]
        return _plot_file(self.plot, one.corpus, one.scenario, one.person_axis)

    @property
    def methods(self) -> list[str]:
        """As the first K ranks them; what only other K have after them."""
        return list(dict.fromkeys(row["method"] for one in self.comparisons for row in one.rows))

    def metric(self, method: str, metric: str) -> list[Mapping[str, float] | None]:
        """A method's metric at each K, None where it has none."""
        found = [{row["method"]: row["metrics"].get(metric) for row in one.rows} for one in self.comparisons]
        return [one.get(method) for one in found]


def _plot_file(plot: Plot, *words: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower())
    return f"plots/{slug.strip('-')}-{plot.name}.png"


def sweeps(found: Sequence[Comparison]) -> list[Sweep]:
    """Where there are several K."""
    by_setting = groupby(found, key=lambda one: (one.corpus, one.scenario, one.person_axis))
    return [Sweep(several) for _, same in by_setting if len(several := list(same)) > 1]


def write_report(results: Mapping[str, Any], folder: Path) -> ReportPaths:
    """Write report.md, report.html and plots/*.png into `folder` from the content of a results.json."""
    folder = Path(folder)
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    found = comparisons(results)
    paths = ReportPaths(folder / "report.md", folder / "report.html", [])
    images = {}
    drawn = [(one.plot_file(plot), plot) for one in found for plot in one.plots]
    for name, plot in [*drawn, *((one.file, one.plot) for one in sweeps(found))]:
        light = plot.png(LIGHT)
        (folder / name).write_bytes(light)
        paths.plots.append(folder / name)
        images[name] = {"light": _data_uri(light), "dark": _data_uri(plot.png(DARK))}
    content = {
        "meta": dict(results.get("meta", {})),
        "comparisons": found,
        "sweeps": sweeps(found),
        "glossary": _glossary(found),
        "images": images,
    }
    templates = environment()
    write_text_whole(paths.markdown, templates.get_template("report.md.jinja").render(content))
    write_text_whole(paths.html, templates.get_template("report.html.jinja").render(content))
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
        table.add_column("to personalise", justify="right")
        for row in comparison.rows:
            first, *rest = [row["metrics"].get(name) for name in shown]
            cells = [f"{value_text(first)} {interval_text(first)}".strip(), *map(value_text, rest)]
            style = "dim" if row["route"] == "trivial" else None
            table.add_row(
                escape(row["method"]), *cells, duration(row.get("seconds_personalize")), style=style
            )
        console.print(table)
        console.print(comparison.verdict, markup=False, highlight=False)


def comparisons(results: Mapping[str, Any]) -> list[Comparison]:
    """The rows of a results.json, apart by corpus, scenario, person axis and K."""
    settings = ("corpus", "scenario", "person_axis", "k")
    rows = sorted(results.get("rows", ()), key=lambda row: [row[name] for name in settings])
    found = []
    for setting, same in groupby(rows, key=lambda row: tuple(row[name] for name in settings)):
        here = dict(zip(settings, setting, strict=True))
        ranked = sorted(
            same, key=lambda row: (row["route"] == "trivial", -(score(row) or 0.0), row["method"])
        )
        order = {name: place for place, name in enumerate(METRICS)}
        # A difference may leave corpus and person axis unsaid, where a run has only one of each.
        differences = [
            one
            for one in results.get("differences", ())
            if all(one.get(name, here[name]) == here[name] for name in settings)
        ]
        differences.sort(
            key=lambda one: (
                order.get(one["metric"], len(order)),
                -one["mean"] if finite(one["mean"]) else math.inf,
            )
        )
        found.append(Comparison(**here, rows=ranked, differences=differences))
    return found


def value_text(one: Mapping[str, float] | None, metric: str = "") -> str:
    """A metric's mean as it is printed: percent with one decimal; Brier as it is."""
    if one is None or not finite(one.get("mean")):
        return DASH
    return f"{one['mean']:.3f}" if metric == "brier" else percent(one["mean"])


def interval_text(one: Mapping[str, float] | None, metric: str = "") -> str:
    """A metric's interval in brackets, or nothing where there is none."""
    if one is None or not (finite(one.get("low")) and finite(one.get("high"))):
        return ""
    low, high = (value_text({"mean": one[bound]}, metric) for bound in ("low", "high"))
    return f"({low}{DASH}{high})"


def difference_text(one: Row) -> str:
    """A paired difference with its interval, in points."""
    if not finite(one.get("mean")):
        return DASH
    if one["metric"] == "brier":
        return f"{one['mean']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})"
    return f"{points(one['mean'])} ({points(one['low'])} to {points(one['high'])})"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that reads best."""
    if not finite(seconds):
        return DASH
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms" if seconds >= 0.001 else "< 1 ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _glossary(found: Sequence[Comparison]) -> list[tuple[str, str]]:
    present = {name for comparison in found for name in comparison.metrics}
    return [meaning for name, meaning in METRICS.items() if name in present]


def environment() -> Environment:
    """The templates and how they print figures."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(enabled_extensions=("html.jinja",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "heading": lambda metric: METRICS.get(metric, (metric, ""))[0],
        "value": value_text,
        "interval": interval_text,
        "difference": difference_text,
        "duration": duration,
        "share": lambda value: f"{value:.3f}",
        "groupby_metric": lambda differences: groupby(differences, key=lambda one: one["metric"]),
        "plain": _plain,
        "markdown": _markdown,
        "effect": lambda effect: f"{effect:+.2f}" if finite(effect) else DASH,
        "p_value": lambda p: (f"{p:.3f}" if p >= 0.001 else "< 0.001") if finite(p) else DASH,
    }
    return made


def _plain(value: Any) -> str:
    """A value of `meta` in words: mappings and lists on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return str(value)


def _markdown(text: str) -> str:
    """Text as Markdown shows it literally, in a table's cell too."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(text).split()))


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
