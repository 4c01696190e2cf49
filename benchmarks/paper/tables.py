"""Arrange the rows of results.json as Table 1, Table 2 and Figure 2 of the Meta-PerSER paper.

The paper's figures, and ours minus theirs, are shown beside ours only where both were measured in the same
way: on IEMOCAP's own listeners, at the paper's K and Q. Otherwise the paper's figures do not appear at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from benchmarks.paper.published import (
    COMPARED_WITH,
    CORPUS,
    FIGURE_2,
    FIGURE_2_NOTE,
    LISTENERS,
    METRICS,
    SCENARIOS,
    SEEDS,
    TABLE_1_METHODS,
    TABLE_2_AMBIGUITY,
    TABLE_2_ROWS,
    UPSTREAMS,
    K,
    Q,
    table_1,
    table_2,
    upstream_of,
)
from benchmarks.reporting.summary import Row, finite
from perser.io.terminal import counted

FITTING = ("entire-zero", "entire-few", "meta-perser")
"""A corpus has a page if any of these methods was measured on it."""

OURS = "Not in the paper"

ABLATION = "meta-perser:"
"""What the names of ablations of meta-training begin with."""


@dataclass(frozen=True)
class Value:
    """One metric in percent, ours and the paper's; None where there is none, or none to compare with."""

    ours: float | None
    paper: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, in points."""
        return None if self.ours is None or self.paper is None else self.ours - self.paper


@dataclass(frozen=True)
class TableRow:
    """A row of a table: a value for each column and metric, in their order."""

    label: str
    values: Sequence[Value]


@dataclass(frozen=True)
class RowGroup:
    """Rows under a common heading; the heading of the paper's own rows is empty."""

    heading: str
    rows: Sequence[TableRow]


@dataclass(frozen=True)
class PaperTable:
    """A table in the paper's layout: its columns are (scenario, upstream), each with the three metrics."""

    title: str
    columns: Sequence[tuple[str, str]]
    groups: Sequence[RowGroup]
    notes: Sequence[str] = ()

    @property
    def heads(self) -> list[tuple[str, list[tuple[str, int]]]]:
        """The three heading rows: what each is about, and its words with the number of figures they span."""
        each = len(METRICS)
        scenarios = [scenario for scenario, _ in self.columns]
        return [
            (
                "Scenario",
                [(SCENARIOS[name], each * scenarios.count(name)) for name in dict.fromkeys(scenarios)],
            ),
            ("Upstream", [(upstream, each) for _, upstream in self.columns]),
            ("", [(heading, 1) for _ in self.columns for heading in METRICS.values()]),
        ]


@dataclass(frozen=True)
class Curve:
    """Figure 2 in one scenario: K against the metrics, the mean over the upstreams that have every K."""

    scenario: str
    upstreams: Sequence[str]
    sizes: Sequence[int]
    values: Mapping[str, Sequence[Value]]
    """By metric, a value for each K."""


@dataclass(frozen=True)
class PaperPage:
    """The paper's tables and figure for one corpus."""

    corpus: str
    simulated: bool
    q: int | None
    rows: Sequence[Row]
    """Rows of results.json on the listener axis, seen and unseen."""

    @property
    def of_the_paper(self) -> bool:
        """Whether the corpus is the paper's, with real listeners."""
        return self.corpus == CORPUS and not self.simulated

    @property
    def compares(self) -> bool:
        """Whether the paper's figures are shown beside ours."""
        return self.of_the_paper and self.q == Q and any(row["k"] == K for row in self.rows)

    @property
    def k(self) -> int:
        """The K of the tables: the paper's where it was measured, else the largest."""
        sizes = {row["k"] for row in self.rows}
        return K if K in sizes else max(sizes)

    @property
    def standing(self) -> str:
        """A sentence that says whether the figures can be compared with the paper's, and how."""
        measured = f"corpus {self.corpus}{', simulated' if self.simulated else ''}, K = {self.k}"
        measured += "" if self.q is None else f", Q = {self.q}"
        if not self.of_the_paper:
            return (
                f"These figures are of another corpus than the paper's ({measured}), "
                "so the paper's figures are not shown."
            )
        if not self.compares:
            return (
                f"Measured differently than in the paper ({measured}), so the paper's figures are not shown."
            )
        text = "Beside each figure: the paper's, and the difference, ours minus the paper's, in points."
        counts = {(row.get("persons", 0), row.get("episodes", 0)) for row in self.rows if row["k"] == K}
        if counts - {(LISTENERS, LISTENERS * SEEDS)}:
            ordered = sorted(counts)
            here = "; ".join(
                f"{counted(persons, 'listener')}, {counted(episodes, 'episode')}"
                for persons, episodes in ordered
            )
            text += (
                f" The paper's are over {LISTENERS} listeners and {LISTENERS * SEEDS} episodes; "
                f"some rows here are not: {here}."
            )
        return text

    @property
    def tables(self) -> list[PaperTable]:
        """Table 1, and Table 2 where an ablation of meta-training was measured."""
        ablations = any(row["method"].startswith(ABLATION) for row in self.rows)
        return [self._table_1(), *([self._table_2()] if ablations else [])]

    @property
    def curves(self) -> list[Curve]:
        """Figure 2: the scenarios in which Meta-PerSER was measured at several K."""
        return [curve for scenario in SCENARIOS if (curve := self._curve(scenario)) is not None]

    @property
    def figure_note(self) -> str:
        return FIGURE_2_NOTE if self.compares else ""

    @cached_property
    def upstreams(self) -> dict[str, str]:
        """The name of each encoder's column, the paper's columns first.

        A second encoder with the same upstream name has a column under its own name.
        """
        columns: dict[str, str] = {}
        for encoder in dict.fromkeys(row["encoder"] for row in self.rows if row["encoder"]):
            upstream = upstream_of(encoder)
            columns[encoder] = encoder if upstream in columns.values() else upstream
        order = {name: place for place, name in enumerate(UPSTREAMS.values())}
        return dict(sorted(columns.items(), key=lambda item: order.get(item[1], len(order))))

    @cached_property
    def _ours(self) -> dict[tuple[str, str, str, int], Row]:
        """Rows by scenario, upstream, method and K."""
        return {
            (row["scenario"], self.upstreams[row["encoder"]], row["method"], row["k"]): row
            for row in self.rows
            if row["encoder"]
        }

    def _table_1(self) -> PaperTable:
        printed = table_1() if self.compares else {}
        columns = self._columns(list(SCENARIOS), [row["method"] for row in self.rows])
        methods = dict.fromkeys(row["method"] for row in self.rows if not row["method"].startswith(ABLATION))
        others = {name: name for name in methods if name not in TABLE_1_METHODS}
        groups = [
            self._group("", TABLE_1_METHODS, columns, printed),
            self._group(OURS, others, columns, {}),
        ]
        title = "Table 1: methods, by scenario and upstream"
        return PaperTable(title, columns, [group for group in groups if group.rows])

    def _table_2(self) -> PaperTable:
        printed = table_2() if self.compares else {}
        ablations = [row["method"] for row in self.rows if row["method"].startswith(ABLATION)]
        columns = self._columns(["unseen"] if self.compares else list(SCENARIOS), ablations)
        first = {row.method: row.label for row in TABLE_2_ROWS}
        other = {
            row.other_method: row.other_label for row in TABLE_2_ROWS if row.other_method and row.other_label
        }
        more = {method: method for method in ablations if method not in first | other}
        groups = [
            self._group("", first, columns, printed),
            self._group("The fourth and fifth row, read as pairs", other, columns, printed),
            self._group(OURS, more, columns, {}),
        ]
        note = f"{TABLE_2_AMBIGUITY}{COMPARED_WITH if self.compares else ''}."
        title = "Table 2: what each part of meta-training adds"
        return PaperTable(title, columns, [group for group in groups if group.rows], [note])

    def _columns(self, scenarios: Sequence[str], methods: Sequence[str]) -> list[tuple[str, str]]:
        """Return the columns with any of the methods; the paper's too where its figures are shown."""
        upstreams = list(self.upstreams.values())
        shown = {key[:2] for key in self._ours if key[2] in methods and key[3] == self.k}
        if self.compares:
            shown |= {(scenario, upstream) for scenario in scenarios for upstream in UPSTREAMS.values()}
            upstreams = list(dict.fromkeys([*UPSTREAMS.values(), *upstreams]))
        columns = [(scenario, upstream) for scenario in scenarios for upstream in upstreams]
        return [column for column in columns if column in shown]

    def _group(
        self,
        heading: str,
        labels: Mapping[str, str],
        columns: Sequence[tuple[str, str]],
        printed: Mapping[tuple[str, str, str], Mapping[str, float]],
    ) -> RowGroup:
        """Return the rows of these methods; the paper's rows (no heading) stand even if not measured."""
        rows = []
        for method, label in labels.items():
            values = []
            for scenario, upstream in columns:
                row = self._ours.get((scenario, upstream, method, self.k))
                paper = printed.get((scenario, upstream, method), {})
                values += [Value(_percent(row, metric), paper.get(metric)) for metric in METRICS]
            if not heading or any(value.ours is not None for value in values):
                rows.append(TableRow(label, values))
        return RowGroup(heading, rows)

    def _curve(self, scenario: str) -> Curve | None:
        """Return Figure 2 in one scenario; None with fewer than two K."""
        measured: dict[str, dict[int, Row]] = {}
        for (row_scenario, upstream, method, k), row in self._ours.items():
            if (row_scenario, method) == (scenario, "meta-perser"):
                measured.setdefault(upstream, {})[k] = row
        # Only upstreams with every K: if K = 2 had other upstreams than K = 4, the curve would mix the two.
        largest: dict[int, Row] = max(measured.values(), key=len, default={})
        sizes = sorted(largest)
        if len(sizes) < 2:
            return None
        upstreams = [name for name in self.upstreams.values() if {*sizes} <= {*measured.get(name, {})}]
        same = self.compares and {*UPSTREAMS.values()} <= {*upstreams}
        upstreams = list(UPSTREAMS.values()) if same else upstreams
        values = {}
        for metric in METRICS:
            by_size = [[_percent(measured[name][k], metric) for name in upstreams] for k in sizes]
            means = [_mean(column) for column in by_size]
            values[metric] = [
                Value(mean, FIGURE_2.get((scenario, k), {}).get(metric) if same else None)
                for k, mean in zip(sizes, means, strict=True)
            ]
        return Curve(scenario, upstreams, sizes, values)


def paper_pages(results: Mapping[str, Any]) -> list[PaperPage]:
    """Return a page for each corpus with one of FITTING, from rows on the listener axis, seen or unseen."""
    meta = results.get("meta", {})
    rows = [
        row
        for row in results.get("rows", ())
        if row["person_axis"] == "listener" and row["scenario"] in SCENARIOS and row.get("encoder")
    ]
    q = meta.get("q") if isinstance(meta.get("q"), int) else None  # a list where runs of several Q are pooled
    corpora = dict.fromkeys(row["corpus"] for row in rows if row["method"] in FITTING)
    return [
        PaperPage(
            corpus, bool(meta.get("simulated", False)), q, [row for row in rows if row["corpus"] == corpus]
        )
        for corpus in corpora
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _percent(row: Row | None, metric: str) -> float | None:
    mean = row["metrics"].get(metric, {}).get("mean") if row else None
    return 100 * mean if finite(mean) else None
