"""The rows of a results.json that may be ranked against each other, apart from all others."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from benchmarks.measuring.scores import SETTING
from benchmarks.reporting.canvas import Plot
from benchmarks.reporting.formats import METRICS
from benchmarks.reporting.plots import plot_by_k, plots
from benchmarks.reporting.summary import (
    BASELINES,
    PersonSpread,
    Row,
    best_of_routes,
    finite,
    person_spread,
    score,
)
from benchmarks.reporting.verdict import _leader, verdict


@dataclass(frozen=True)
class Comparison:
    """The rows of one setting: one corpus, scenario, person axis, encoder and K."""

    corpus: str
    scenario: str
    person_axis: str
    encoder: str
    """Empty where none is named."""
    k: int
    rows: list[Row]
    """Methods by macro-F1, best first; trivial rows after them."""
    differences: list[Row]
    """By metric, then the largest first."""
    costs: Mapping[str, Row]
    """What each method cost (a row of costs.json), by its name; empty where nobody wrote it down."""

    @property
    def title(self) -> str:
        return f"{_words(self)}, K = {self.k}"

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
    def routes(self) -> list[Row]:
        """The best method of each route and BASELINES, by macro-F1: what costs are laid out for."""
        chosen = [one["method"] for one in best_of_routes(self.rows)]
        return [row for row in self.rows if row["method"] in (*chosen, *BASELINES)]

    @property
    def spreads(self) -> list[tuple[Row, PersonSpread]]:
        """How much the macro-F1 of each method differs from person to person, where a row says so."""
        found = [(row, person_spread(row)) for row in self.rows]
        return [(row, spread) for row, spread in found if spread is not None]

    @property
    def plots(self) -> list[Plot]:
        return plots(self.rows, self.differences)

    def plot_file(self, plot: Plot) -> str:
        """A plot's path inside the report's folder."""
        return f"plots/{_slug(self, f'k{self.k}')}-{plot.name}.png"

    @property
    def table_file(self) -> str:
        """The path of its LaTeX table inside the report's folder."""
        return f"tables/{_slug(self, f'k{self.k}')}.tex"


@dataclass(frozen=True)
class Sweep:
    """Comparisons that differ in K alone. Within one K methods are ranked; across K they are drawn."""

    comparisons: list[Comparison]

    @property
    def title(self) -> str:
        return f"{_words(self.comparisons[0])}, K = {', '.join(str(one.k) for one in self.comparisons)}"

    @property
    def plot(self) -> Plot:
        return plot_by_k([row for one in self.comparisons for row in one.rows])

    @property
    def file(self) -> str:
        return f"plots/{_slug(self.comparisons[0])}-{self.plot.name}.png"

    @property
    def methods(self) -> list[str]:
        """As the first K ranks them; what only other K have after them."""
        return list(dict.fromkeys(row["method"] for one in self.comparisons for row in one.rows))

    def metric(self, method: str, metric: str) -> list[Mapping[str, float] | None]:
        """A method's metric at each K, None where it has none."""
        found = [{row["method"]: row["metrics"].get(metric) for row in one.rows} for one in self.comparisons]
        return [one.get(method) for one in found]


def comparisons(results: Mapping[str, Any], costs: Sequence[Row] = ()) -> list[Comparison]:
    """The rows of a results.json, apart by setting (SETTING); `costs`: the content of costs.json."""
    rows = sorted(results.get("rows", ()), key=_setting)
    order = {name: place for place, name in enumerate(METRICS)}
    found = []
    for setting, same in groupby(rows, key=_setting):
        here = dict(zip(SETTING, setting, strict=True))
        ranked = sorted(
            same, key=lambda row: (row["route"] == "trivial", -(score(row) or 0.0), row["method"])
        )
        # A difference may leave parts of the setting unsaid, where a run has only one of each.
        differences = [
            one
            for one in results.get("differences", ())
            if all(one.get(name, here[name]) == here[name] for name in SETTING)
        ]
        differences.sort(
            key=lambda one: (
                order.get(one["metric"], len(order)),
                -one["mean"] if finite(one["mean"]) else math.inf,
            )
        )
        spent = {one["method"]: one for one in costs if _setting(one) == setting}
        found.append(Comparison(**here, rows=ranked, differences=differences, costs=spent))
    return found


def sweeps(found: Sequence[Comparison]) -> list[Sweep]:
    """Where there are several K."""
    by_setting = groupby(found, key=lambda one: [getattr(one, name) for name in SETTING if name != "k"])
    return [Sweep(several) for _, same in by_setting if len(several := list(same)) > 1]


def _setting(row: Row) -> tuple[Any, ...]:
    # Results from before encoders were told apart name none.
    return tuple(row.get(name, "") if name == "encoder" else row[name] for name in SETTING)


def _words(one: Comparison) -> str:
    said = f"{one.corpus}, {one.scenario}, personalized to the {one.person_axis}"
    return f"{said}, {one.encoder}" if one.encoder else said


def _slug(one: Comparison, *more: str) -> str:
    words = " ".join((one.corpus, one.scenario, one.person_axis, one.encoder, *more))
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def overall(found: Sequence[Comparison]) -> list[str]:
    """Of each person axis with several comparisons, a sentence: which methods have the highest macro-F1 in
    how many of them, and where that is more than chance. A listener's and a speaker's are never counted
    together."""
    said = []
    for axis in dict.fromkeys(one.person_axis for one in found):
        here = [one for one in found if one.person_axis == axis]
        first = [_leader(one.rows, one.differences) for one in here]
        counts = Counter(name for name, _ in first if name)
        clear = Counter(name for name, beyond in first if beyond)
        parts = [
            f"{name} in {count} (beyond chance in {clear[name]})" for name, count in counts.most_common()
        ]
        if len(here) > 1 and parts:
            settings = f"Personalized to the {axis}, {len(here)} settings"
            said.append(f"{settings}; highest macro-F1: {', '.join(parts)}.")
    return said
