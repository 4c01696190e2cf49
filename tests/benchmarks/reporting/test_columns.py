"""A column is one entry of COLUMNS: all four tables that show a comparison's rows read it from there."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from benchmarks.measuring.aggregate import aggregate_results
from benchmarks.reporting import columns
from benchmarks.reporting import comparisons as comparisons_module
from benchmarks.reporting.columns import COLUMNS, METRICS, Column, columns_in, glossary
from benchmarks.reporting.report import print_tables, write_report
from benchmarks.reporting.summary import LOG_LOSS, MACRO_F1

TOY = Column("toy", "Toy", lambda row: f"toy of {row['method']}", meaning="a toy that every method has")


@pytest.fixture(scope="module")
def results(make_scores):
    return aggregate_results([make_scores()], "t")


def tables(results, folder, monkeypatch):
    """The terminal's table, report.md, report.html and the LaTeX table, as text."""
    monkeypatch.setattr(comparisons_module, "plots", lambda rows, differences: [])
    console = Console(file=StringIO(), width=200)
    print_tables(results, console)
    paths = write_report(results, folder)
    return {
        "terminal": console.file.getvalue(),
        "markdown": paths.markdown.read_text(),
        "html": paths.html.read_text(),
        "latex": paths.tables[0].read_text(),
    }


def test_an_entry_makes_a_column_in_all_four_tables(results, tmp_path, monkeypatch):
    before = tables(results, tmp_path / "before", monkeypatch)
    monkeypatch.setattr(columns, "COLUMNS", (*COLUMNS, TOY))
    for name, text in tables(results, tmp_path / "after", monkeypatch).items():
        assert "toy of" not in before[name]
        for row in results["rows"]:
            assert text.count(f"toy of {row['method']}") >= 1, name
        assert ("toy" if name == "terminal" else "Toy") in text
        if name in ("markdown", "html"):
            assert TOY.meaning in text


def test_an_entry_for_a_metric_is_ranked_and_has_its_interval(results, tmp_path, monkeypatch):
    toy = columns._metric("toy", "Toy", "a toy metric", better="lower", tables=columns.ALL_TABLES)
    monkeypatch.setattr(columns, "COLUMNS", (*COLUMNS[:3], toy, *COLUMNS[3:]))
    rows = [
        row | {"metrics": row["metrics"] | {"toy": {"mean": 0.111 + place / 100, "low": 0.1, "high": 0.9}}}
        for place, row in enumerate(row for row in results["rows"] if row["route"] != "trivial")
    ]
    found = tables(results | {"rows": rows}, tmp_path, monkeypatch)
    assert "11.1 (10.0–90.0)" in found["markdown"]  # noqa: RUF001
    assert "<td>11.1<small>(10.0–90.0)</small></td>" in found["html"]  # noqa: RUF001
    assert r"\textbf{11.1} {\scriptsize (10.0--90.0)}" in found["latex"]
    assert "11.1" in found["terminal"]


def test_the_columns_of_older_results_are_these(results):
    headings = {
        table: [column.heading for column in columns_in(table, results["rows"])]
        for table in ("terminal", "markdown", "html", "latex")
    }
    metrics = ["maF1", "miF1", "UA", "Bal. acc.", "Brier ↓", "ECE ↓"]
    assert headings["terminal"] == ["Method", *metrics[:2], "To personalize"]
    assert headings["latex"] == ["Method", *metrics, "To personalize"]
    times = ["To personalize", "Per utterance", "Persons", "Episodes"]
    assert headings["html"] == ["Method", *metrics, *times]
    assert headings["markdown"] == ["Method", "Route", *metrics, *times, "Adapts"]


def test_a_metric_without_an_entry_comes_after_the_others_under_its_own_name():
    rows = [{"metrics": {"maF1": {"mean": 0.5}, "new": {"mean": 0.25}}}]
    shown = columns_in("latex", rows)
    assert [column.heading for column in shown] == ["Method", "maF1", "new", "To personalize"]
    assert shown[2].text(rows[0]) == "25.0"


def test_log_loss_and_gain_come_first(make_scores):
    rows = aggregate_results([make_scores(log_loss=True)], "t")["rows"]
    headings = [column.heading for column in columns_in("terminal", rows)]
    assert headings == ["Method", "Log loss ↓", "Gain", "maF1", "miF1", "To personalize"]
    metrics = ["Log loss ↓", "Gain", "AUROC", "AP", "maF1", "miF1", "UA", "Bal. acc.", "Brier ↓", "ECE ↓"]
    assert [column.heading for column in columns_in("latex", rows)][1:-1] == metrics
    with_share = [row | {"metrics": row["metrics"] | {"gain_share": {"mean": 0.4}}} for row in rows]
    headings = [column.heading for column in columns_in("terminal", with_share)]
    assert headings[:4] == ["Method", "Log loss ↓", "Gain share", "Gain"]


def test_which_metrics_are_better_lower_is_said_alike_everywhere():
    for ranking in (LOG_LOSS, MACRO_F1):
        column = METRICS[ranking.metric]
        assert (column.better == "lower") == ranking.lower_is_better
        assert column.in_percent == (ranking.scale == 100)


def test_the_glossary_explains_the_columns_that_are_shown(results):
    meanings = dict(glossary(results["rows"]))
    assert {"maF1", "UA", "ECE ↓", "To personalize"} <= meanings.keys()
    assert "UAR" not in meanings
