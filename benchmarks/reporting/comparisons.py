"""Divide the rows of results.json into comparisons: rows of one setting, which may be ranked against each
other."""

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
from benchmarks.reporting.columns import METRICS, Column, Table, columns_in
from benchmarks.reporting.plots import plot_by_k, plots
from benchmarks.reporting.summary import (
    LOG_LOSS,
    ORACLES,
    Headline,
    PersonSpread,
    Row,
    best_of_routes,
    finite,
    headline,
    is_baseline,
    is_trivial,
    person_spread,
)
from benchmarks.reporting.verdict import leader, power, verdict


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
    """Methods by the headline, best first; after them the oracles, then the trivial rows."""
    differences: list[Row]
    """By metric, then those that favor the first method most."""
    costs: Mapping[str, Row]
    """What each method cost (a row of costs.json), by its name; empty where there is no costs.json."""

    @property
    def title(self) -> str:
        return f"{_setting_text(self)}, K = {self.k}"

    @property
    def trained_on(self) -> str:
        """The corpus that the models were trained on; empty where that is not known."""
        return str(self.rows[0].get("trained_on", ""))

    @property
    def is_in_corpus(self) -> bool:
        """Whether it is the corpus that the models were trained on."""
        return self.trained_on == self.corpus

    @property
    def mode(self) -> str:
        """The mode of enrollment."""
        return str(self.rows[0].get("mode", "any"))

    @property
    def emotions(self) -> list[str]:
        """The emotions of the corpus; empty in results of earlier versions."""
        return list(self.rows[0].get("emotions", ()))

    def columns(self, table: Table) -> list[Column]:
        """Return the columns of a table of the rows."""
        return columns_in(table, self.rows)

    @property
    def trivial(self) -> set[str]:
        """The methods that never hear the speech."""
        return {row["method"] for row in self.rows if is_trivial(row)}

    @property
    def headline(self) -> Headline:
        """The metric by which the methods are ranked."""
        return headline(self.rows)

    @property
    def power(self) -> str:
        """Which difference could have been seen."""
        return power(self.rows, self.differences)

    @property
    def caption(self) -> str:
        """What the figures of its table are."""
        metrics = [value for row in self.rows for value in row["metrics"].values()]
        speakers = any(value.get("pigeonhole") for value in metrics)
        intervals = "95% intervals over persons and their episodes"
        if speakers:
            intervals += ", or over persons and speakers where these are wider"
        nats = self.headline is LOG_LOSS
        return f"{'Log loss and gain in nats, the rest in percent' if nats else 'Percent'}, with {intervals}."

    @property
    def verdict(self) -> str:
        return verdict(self.rows, self.differences)

    @property
    def routes(self) -> list[Row]:
        """The best method of each route and BASELINES, best first: the rows of the table of costs."""
        best = [row["method"] for row in best_of_routes(self.rows)]
        return [row for row in self.rows if row["method"] in best or is_baseline(row)]

    @property
    def spreads(self) -> list[tuple[Row, PersonSpread]]:
        """How much each method's headline differs from person to person, for the rows that have it."""
        spreads = [(row, person_spread(row, self.headline)) for row in self.rows]
        return [(row, spread) for row, spread in spreads if spread is not None]

    @property
    def plots(self) -> list[Plot]:
        return plots(self.rows, self.differences)

    def plot_file(self, plot: Plot) -> str:
        """Return a plot's path inside the report's folder."""
        return f"plots/{_slug(self, f'k{self.k}')}-{plot.name}.png"

    @property
    def table_file(self) -> str:
        """The path of its LaTeX table inside the report's folder."""
        return f"tables/{_slug(self, f'k{self.k}')}.tex"


@dataclass(frozen=True)
class Sweep:
    """Comparisons that differ only in K. Methods are ranked within one K; a plot shows them across K."""

    comparisons: list[Comparison]

    @property
    def title(self) -> str:
        sizes = ", ".join(str(comparison.k) for comparison in self.comparisons)
        return f"{_setting_text(self.comparisons[0])}, K = {sizes}"

    @property
    def plot(self) -> Plot:
        return plot_by_k([row for comparison in self.comparisons for row in comparison.rows])

    @property
    def file(self) -> str:
        """The plot's path inside the report's folder."""
        return f"plots/{_slug(self.comparisons[0])}-{self.plot.name}.png"

    @property
    def metrics(self) -> list[str]:
        """The metrics that are shown by K: log loss if it was measured, macro- and micro-F1."""
        present = {name for each in self.comparisons for row in each.rows for name in row["metrics"]}
        return [name for name in ("log_loss", "maF1", "miF1") if name != "log_loss" or name in present]

    @property
    def methods(self) -> list[str]:
        """Methods as the first K ranks them; those that only other K have come after them."""
        return list(
            dict.fromkeys(row["method"] for comparison in self.comparisons for row in comparison.rows)
        )

    def metric(self, method: str, metric: str) -> list[Mapping[str, float] | None]:
        """Return a method's metric at each K, None where it has none."""
        by_method = [
            {row["method"]: row["metrics"].get(metric) for row in comparison.rows}
            for comparison in self.comparisons
        ]
        return [values.get(method) for values in by_method]


def make_comparisons(results: Mapping[str, Any], costs: Sequence[Row] = ()) -> list[Comparison]:
    """Return a comparison for each setting in results.json; `costs` is the content of costs.json."""
    return [
        _comparison(setting, list(rows), results.get("differences", ()), costs)
        for setting, rows in groupby(sorted(results.get("rows", ()), key=_setting), key=_setting)
    ]


def make_sweeps(comparisons: Sequence[Comparison]) -> list[Sweep]:
    """Return a sweep for each setting that has several K."""
    by_setting = groupby(
        comparisons, key=lambda comparison: [getattr(comparison, name) for name in SETTING if name != "k"]
    )
    return [Sweep(several) for _, same in by_setting if len(several := list(same)) > 1]


def overall_verdicts(comparisons: Sequence[Comparison]) -> list[str]:
    """Return a sentence for each person axis with several comparisons.

    It says which methods are best by the headline in how many settings, and in how many of them the lead is
    more than chance. Listeners and speakers are never counted together.
    """
    sentences = []
    for axis in dict.fromkeys(comparison.person_axis for comparison in comparisons):
        same_axis = [comparison for comparison in comparisons if comparison.person_axis == axis]
        leaders = [leader(comparison.rows, comparison.differences) for comparison in same_axis]
        counts = Counter(name for name, _ in leaders if name)
        clear = Counter(name for name, beyond_chance in leaders if beyond_chance)
        parts = [
            f"{name} in {count} (beyond chance in {clear[name]})" for name, count in counts.most_common()
        ]
        if len(same_axis) > 1 and parts:
            settings = f"Personalized to the {axis}, {len(same_axis)} settings"
            rankings = dict.fromkeys(comparison.headline for comparison in same_axis)
            best = " or ".join(f"{ranking.best_word} {ranking.name}" for ranking in rankings)
            sentences.append(f"{settings}; {best}: {', '.join(parts)}.")
    return sentences


def _comparison(
    setting: tuple[Any, ...], rows: list[Row], differences: Sequence[Row], costs: Sequence[Row]
) -> Comparison:
    named = dict(zip(SETTING, setting, strict=True))
    order = {name: place for place, name in enumerate(METRICS)}
    # A difference may leave out parts of the setting, in a run that has only one of each.
    own = [
        difference
        for difference in differences
        if all(difference.get(name, named[name]) == named[name] for name in SETTING)
    ]
    ranking = headline(rows)

    def standing(row: Row) -> tuple[Any, ...]:
        goodness = 0.0 if ranking.value(row) is None else ranking.goodness(row)
        return is_trivial(row), row["method"] in ORACLES, -goodness, row["method"]

    def place(difference: Row) -> tuple[float, float]:
        metric, mean = difference["metric"], difference["mean"]
        lower_is_better = metric in METRICS and METRICS[metric].better == "lower"
        size = mean if lower_is_better else -mean
        return order.get(metric, len(order)), size if finite(mean) else math.inf

    return Comparison(
        **named,
        rows=sorted(rows, key=standing),
        differences=sorted(own, key=place),
        costs={row["method"]: row for row in costs if _setting(row) == setting},
    )


def _setting(row: Row) -> tuple[Any, ...]:
    # Older results name no encoder.
    return tuple(row.get(name, "") if name == "encoder" else row[name] for name in SETTING)


def _setting_text(comparison: Comparison) -> str:
    text = f"{comparison.corpus}, {comparison.scenario}, personalized to the {comparison.person_axis}"
    return f"{text}, {comparison.encoder}" if comparison.encoder else text


def _slug(comparison: Comparison, *more: str) -> str:
    parts = (comparison.corpus, comparison.scenario, comparison.person_axis, comparison.encoder, *more)
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")
