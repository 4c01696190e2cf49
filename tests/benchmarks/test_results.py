"""Results of version 0.1.0, which called folds turns, are read as those of this version."""

from __future__ import annotations

import json

import pytest

from benchmarks.measuring.aggregate import aggregate_results
from benchmarks.reporting import canvas
from benchmarks.results import read_results, show, write_results
from benchmarks.results_page import results_page


@pytest.fixture
def old_run(make_scores, tmp_path):
    """A finished run with the names of version 0.1.0."""
    results = aggregate_results([make_scores()], "An old run")
    results["meta"]["turns"] = results["meta"].pop("folds")
    (tmp_path / "stages").mkdir()
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "command.txt").write_text("perser experiment\n")
    return tmp_path


def test_old_results_have_folds_in_place_of_turns(old_run):
    meta = read_results(old_run)["meta"]
    assert meta["folds"] == 1
    assert "turns" not in meta


def test_old_results_are_shown(old_run, capsys):
    show(old_run)
    assert "meta-perser has the highest macro-F1" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize("prefix", ["turn", "fold"])
def test_the_page_sums_the_seconds_of_a_stage_over_folds_and_sizes(old_run, prefix):
    for name in (f"{prefix}-0 pretrain", f"{prefix}-1 pretrain", f"{prefix}-1 bench k=2", "bench"):
        (old_run / "stages" / f"{name}.json").write_text('{"seconds": 40.0}')
    results_page([old_run], old_run / "RESULTS.md")
    (page,) = (old_run / "results").glob("*.md")
    text = page.read_text()
    assert "pretrain 80.0 s" in text
    assert "bench 80.0 s" in text
    assert prefix not in text


def test_all_result_files_are_written(make_scores, tmp_path, monkeypatch):
    monkeypatch.setattr(canvas, "DPI", 30)
    make_scores().save(tmp_path / "scores.json")
    write_results([tmp_path / "scores.json"], tmp_path / "out", "A run")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"results.json", "costs.json", "provenance.json", "report.md", "report.html"} <= names
    assert read_results(tmp_path / "out")["meta"]["folds"] == 1
