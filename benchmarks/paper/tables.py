"""Table 1, Table 2 and Figure 2 of Meta-PerSER in the paper's own layout, from the rows of a results.json.

Beside our figures stand the paper's, and ours minus theirs, where both are of the same thing: IEMOCAP's own
listeners, at the paper's K and Q. Otherwise the paper's are nowhere on the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from benchmarks.paper.published import (
    COMPARED_BESIDE,
    CORPUS,
    FIGURE_2,
    FIGURE_2_SAID,
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
from benchmarks.reporting.verdict import Row, finite

FITTING = ("entire-zero", "entire-few", "meta-perser")
"""Rows of any of these make a page."""

OURS = "Not in the paper"

VARIANT = "meta-perser:"


@dataclass(frozen=True)
class Cell:
    """One metric in percent, ours and the paper's; None where there is none, or none that compares."""

    ours: float | None
    paper: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, in points."""
        return None if self.ours is None or self.paper is None else self.ours - self.paper


@dataclass(frozen=True)
class Line:
    """A row of a table: a cell for each column and metric, in their order."""

    label: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Group:
    """Rows under a heading of their own; the paper's own rows have none."""

    heading: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class PaperTable:
    """A table in the paper's layout: columns (scenario, upstream), in each the three metrics."""

    title: str
    columns: Sequence[tuple[str, str]]
    groups: Sequence[Group]
    notes: Sequence[str] = ()

    @property
    def heads(self) -> list[tuple[str, list[tuple[str, int]]]]:
        """The paper's three heading rows: what each is of, and its words with how many figures they span."""
        each = len(METRICS)
        scenarios = [scenario for scenario, _ in self.columns]
        return [
            ("Scenario", [(SCENARIOS[one], each * scenarios.count(one)) for one in dict.fromkeys(scenarios)]),
            ("Upstream", [(upstream, each) for _, upstream in self.columns]),
            ("", [(heading, 1) for _ in self.columns for heading in METRICS.values()]),
        ]


@dataclass(frozen=True)
class Curve:
    """Figure 2 in one scenario: K against the metrics, the mean over upstreams that have every K."""

    scenario: str
    upstreams: Sequence[str]
    sizes: Sequence[int]
    cells: Mapping[str, Sequence[Cell]]
    """By metric, a cell for each K."""


@dataclass(frozen=True)
class PaperPage:
    """What one corpus has of the paper's tables."""

    corpus: str
    simulated: bool
    q: int | None
    rows: Sequence[Row]
    """Of the listener axis, seen and unseen."""

    @property
    def of_the_paper(self) -> bool:
        """Whether the corpus is the paper's, with listeners who are real."""
        return self.corpus == CORPUS and not self.simulated

    @property
    def compares(self) -> bool:
        """Whether the paper's figures stand beside ours."""
        return self.of_the_paper and self.q == Q and any(row["k"] == K for row in self.rows)

    @property
    def k(self) -> int:
        """Of the tables: the paper's where it was measured, else the largest."""
        sizes = {row["k"] for row in self.rows}
        return K if K in sizes else max(sizes)

    @property
    def standing(self) -> str:
        """Says what the figures are of, and whether they are set beside the paper's."""
        said = f"corpus {self.corpus}{', simulated' if self.simulated else ''}, K = {self.k}"
        said += "" if self.q is None else f", Q = {self.q}"
        if not self.of_the_paper:
            return (
                f"These figures are of another corpus than the paper's ({said}): not set beside its figures."
            )
        if not self.compares:
            return f"Measured otherwise than in the paper ({said}): not set beside its figures."
        told = {(row.get("persons"), row.get("episodes")) for row in self.rows if row["k"] == K}
        whole = (LISTENERS, LISTENERS * SEEDS)
        said = "Beside each figure: the paper's, and the difference, ours minus the paper's, in points."
        if told - {whole}:
            said += (
                f" The paper's are of {whole[0]} listeners and {whole[1]} episodes; some rows here are not: "
                + "; ".join(
                    f"{persons} listeners, {episodes} episodes" for persons, episodes in _sorted(told)
                )
                + "."
            )
        return said

    @property
    def tables(self) -> list[PaperTable]:
        """Table 1, and Table 2 where a variant of meta-training was measured."""
        ablations = any(row["method"].startswith(VARIANT) for row in self.rows)
        return [self._table_1(), *([self._table_2()] if ablations else [])]

    @property
    def curves(self) -> list[Curve]:
        """Figure 2: the scenarios with several K of Meta-PerSER."""
        return [curve for scenario in SCENARIOS if (curve := self._curve(scenario)) is not None]

    @property
    def figure_note(self) -> str:
        return FIGURE_2_SAID if self.compares else ""

    @cached_property
    def upstreams(self) -> dict[str, str]:
        """Encoder to its column, the paper's first. A second encoder of the same name has its own column."""
        columns: dict[str, str] = {}
        for encoder in dict.fromkeys(row["encoder"] for row in self.rows if row["encoder"]):
            upstream = upstream_of(encoder)
            columns[encoder] = encoder if upstream in columns.values() else upstream
        order = [*UPSTREAMS.values()]
        return dict(
            sorted(columns.items(), key=lambda one: order.index(one[1]) if one[1] in order else len(order))
        )

    @cached_property
    def _ours(self) -> dict[tuple[str, str, str, int], Row]:
        """By scenario, upstream, method and K."""
        return {
            (row["scenario"], self.upstreams[row["encoder"]], row["method"], row["k"]): row
            for row in self.rows
            if row["encoder"]
        }

    def _table_1(self) -> PaperTable:
        printed = table_1() if self.compares else {}
        columns = self._columns(list(SCENARIOS), [row["method"] for row in self.rows])
        methods = dict.fromkeys(row["method"] for row in self.rows if not row["method"].startswith(VARIANT))
        others = {name: name for name in methods if name not in TABLE_1_METHODS}
        groups = [
            self._group("", TABLE_1_METHODS, columns, printed),
            self._group(OURS, others, columns, {}),
        ]
        return PaperTable(
            "Table 1: methods, by scenario and upstream", columns, [one for one in groups if one.lines]
        )

    def _table_2(self) -> PaperTable:
        printed = table_2() if self.compares else {}
        ablations = [row["method"] for row in self.rows if row["method"].startswith(VARIANT)]
        columns = self._columns(["unseen"] if self.compares else list(SCENARIOS), ablations)
        first = {one.method: one.label for one in TABLE_2_ROWS}
        other = {one.other_method: one.other_label for one in TABLE_2_ROWS if one.other_method}
        further = {one: one for one in ablations if one not in first | other}
        groups = [
            self._group("", first, columns, printed),
            self._group("The fourth and fifth row, read as pairs", other, columns, printed),
            self._group(OURS, further, columns, {}),
        ]
        note = f"{TABLE_2_AMBIGUITY}{COMPARED_BESIDE if self.compares else ''}."
        title = "Table 2: what each part of meta-training adds"
        return PaperTable(title, columns, [one for one in groups if one.lines], [note])

    def _columns(self, scenarios: Sequence[str], methods: Sequence[str]) -> list[tuple[str, str]]:
        """The paper's where its figures stand beside ours; else those with any of the methods."""
        upstreams = list(self.upstreams.values())
        present = {key[:2] for key in self._ours if key[2] in methods and key[3] == self.k}
        printed = set()
        if self.compares:
            printed = {(scenario, one) for scenario in scenarios for one in UPSTREAMS.values()}
            upstreams = list(dict.fromkeys([*UPSTREAMS.values(), *upstreams]))
        all_columns = [(scenario, one) for scenario in scenarios for one in upstreams]
        return [one for one in all_columns if one in present | printed]

    def _group(
        self,
        heading: str,
        labels: Mapping[str, str],
        columns: Sequence[tuple[str, str]],
        printed: Mapping[tuple[str, str, str], Mapping[str, float]],
    ) -> Group:
        """The methods of `labels`, the paper's as long as its table says so; others if they were measured."""
        lines = []
        for method, label in labels.items():
            cells = []
            for scenario, upstream in columns:
                row = self._ours.get((scenario, upstream, method, self.k))
                beside = printed.get((scenario, upstream, method), {})
                cells += [Cell(_percent(row, metric), beside.get(metric)) for metric in METRICS]
            if not heading or any(cell.ours is not None for cell in cells):
                lines.append(Line(label, cells))
        return Group(heading, lines)

    def _curve(self, scenario: str) -> Curve | None:
        measured: dict[str, dict[int, Row]] = {}
        for (place, upstream, method, k), row in self._ours.items():
            if (place, method) == (scenario, "meta-perser"):
                measured.setdefault(upstream, {})[k] = row
        # A mean over other upstreams at another K would say more of the upstreams than of K.
        sizes = sorted(max(measured.values(), key=len, default={}))
        if len(sizes) < 2:
            return None
        upstreams = [one for one in self.upstreams.values() if {*sizes} <= {*measured.get(one, {})}]
        same = self.compares and {*UPSTREAMS.values()} <= {*upstreams}
        upstreams = list(UPSTREAMS.values()) if same else upstreams
        cells = {}
        for metric in METRICS:
            found = [[_percent(measured[one][k], metric) for one in upstreams] for k in sizes]
            means = [None if None in values else fmean(values) for values in found]
            cells[metric] = [
                Cell(mean, FIGURE_2.get((scenario, k), {}).get(metric) if same else None)
                for k, mean in zip(sizes, means, strict=True)
            ]
        return Curve(scenario, upstreams, sizes, cells)


def paper_pages(results: Mapping[str, Any]) -> list[PaperPage]:
    """One for each corpus with rows that fit: any of FITTING, on the listener axis, seen or unseen."""
    meta = results.get("meta", {})
    rows = [
        row
        for row in results.get("rows", ())
        if row["person_axis"] == "listener" and row["scenario"] in SCENARIOS and row.get("encoder")
    ]
    asked = meta.get("q")
    q, simulated = asked if isinstance(asked, int) else None, bool(meta.get("simulated", False))
    corpora = [row["corpus"] for row in rows if row["method"] in FITTING]
    return [
        PaperPage(corpus, simulated, q, [row for row in rows if row["corpus"] == corpus])
        for corpus in dict.fromkeys(corpora)
    ]


def _percent(row: Row | None, metric: str) -> float | None:
    mean = row["metrics"].get(metric, {}).get("mean") if row else None
    return 100 * mean if finite(mean) else None


def _sorted(told: set[tuple[int | None, int | None]]) -> list[tuple[int | None, int | None]]:
    return sorted(told, key=lambda one: [part or 0 for part in one])
