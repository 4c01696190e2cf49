"""The verdict ranks by log loss, says what was gained, and how much could have been seen."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from benchmarks.measuring.aggregate import aggregate_results
from benchmarks.measuring.scores import Scores
from benchmarks.reporting import canvas
from benchmarks.reporting.comparisons import make_comparisons, overall_verdicts
from benchmarks.reporting.report import print_tables, write_report
from benchmarks.reporting.verdict import leader, power, verdict


def row(method, loss, route="mine", **metrics):
    values = {"log_loss": loss, "maF1": 0.3} | metrics
    bounds = {name: {"mean": mean, "low": mean - 0.1, "high": mean + 0.1} for name, mean in values.items()}
    return {"method": method, "route": route, "persons": 12, "metrics": bounds}


def difference(a, b, mean, half=0.02, metric="log_loss"):
    return {"a": a, "b": b, "metric": metric, "mean": mean, "low": mean - half, "high": mean + half}


ROWS = [
    row("oracle", 0.8, "trivial", gain=0.25, gain_share=1.0),
    row("learns", 0.95, gain=0.1, gain_share=0.4),
    row("entire-zero", 1.05, gain=0.0, gain_share=0.0),
    row("random", 2.0, "trivial", gain=-0.95, gain_share=-3.8),
]


def test_the_verdict_is_by_log_loss_and_says_what_was_gained():
    text = verdict(ROWS, [difference("learns", "entire-zero", -0.1)])
    assert text.startswith(
        "learns has the lowest log loss, 0.950 nats (95% interval 0.850 to 1.050), ahead of entire-zero by "
        "0.100 nats (0.080 to 0.120 on the same episodes). Over Entire-Zero it gained 0.100 nats (0.000 to "
        "0.200), which is 40.0% (30.0 to 50.0) of what the oracle gains."
    )
    assert "random, has 2.000 nats" in text
    assert "not measured" not in text
    assert leader(ROWS, [difference("learns", "entire-zero", -0.1)]) == ("learns", True)
    assert leader(ROWS, [difference("entire-zero", "learns", 0.01)]) == ("learns", False)


def test_an_oracle_is_never_the_best_method():
    assert "oracle has" not in verdict(ROWS, [])
    assert "nothing to conclude" in verdict([ROWS[0], ROWS[3]], [])


def test_the_best_of_many_is_said_to_be_chosen():
    assert "not adjusted" not in verdict(ROWS, [])
    several = [*ROWS, row("third", 1.0)]
    assert "the best of 3 methods, chosen on these episodes; the intervals are not adjusted" in verdict(
        several, []
    )


def adjusted(a, b, mean, half):
    return difference(a, b, mean) | {"adjusted": [mean - half, mean + half]}


def test_the_lead_of_the_best_of_many_allows_for_its_choice():
    rows = [*ROWS, row("third", 1.0)]
    pairs = [adjusted("learns", "entire-zero", -0.1, 0.04), adjusted("third", "entire-zero", -0.05, 0.04)]
    far, near = (adjusted("learns", "third", -0.05, half) for half in (0.04, 0.06))
    text = verdict(rows, [*pairs, far])
    assert "ahead of third by 0.050 nats (0.010 to 0.090 on the same episodes)" in text
    assert (
        "the best of 3 methods, chosen on these episodes; with intervals that allow for this choice, " in text
    )
    assert "its lead over each of them is beyond chance." in text
    assert leader(rows, [*pairs, far]) == ("learns", True)
    text = verdict(rows, [*pairs, near])
    assert "its lead over third, 0.050 nats (−0.010 to 0.110 on the same episodes), is within chance" in text  # noqa: RUF001
    assert "with intervals that allow for this choice, its lead over third is within chance." in text
    assert leader(rows, [*pairs, near]) == ("learns", False)


def test_older_results_say_that_log_loss_was_not_measured():
    older = [{"method": "m", "route": "mine", "metrics": {"maF1": {"mean": 0.3}}}]
    assert "log loss was not measured" in verdict(older, [])


def test_power_says_what_an_interval_of_this_width_would_show():
    text = power(ROWS, [difference("learns", "entire-zero", -0.1), difference("learns", "random", 1, 0.5)])
    assert text.startswith("With 12 persons, a difference of 0.029 nats of log loss between two methods")
    both = [difference("learns", "entire-zero", -0.1), difference("learns", "entire-zero", 0.1, 0.03, "maF1")]
    assert "0.029 nats of log loss or 4.3 points of macro-F1" in power(ROWS, both)
    assert power(ROWS, []) == ""


def test_differences_of_the_size_that_power_names_are_seen_four_times_in_five():
    rng = np.random.default_rng(0)
    error = 0.02 / 1.96
    seen = np.mean(rng.normal(0.0286, error, 20_000) > 0.02)
    assert seen == pytest.approx(0.8, abs=0.01)


@pytest.fixture(scope="module")
def scores(make_scores) -> list[Scores]:
    return [make_scores(k=k, log_loss=True) for k in (4, 32)]


def test_a_report_with_log_loss(scores, tmp_path, monkeypatch):
    monkeypatch.setattr(canvas, "DPI", 30)
    results = aggregate_results(scores, "t")
    paths = write_report(results, tmp_path)
    for text in (paths.markdown.read_text(), paths.html.read_text()):
        assert "lowest log loss" in text
        assert "would have been seen in 80%" in text
        assert "over persons and speakers where these are wider" in text
        assert "Log loss from person to person" in text
        assert "not measured" not in text
    names = {path.name.removeprefix("toy-unseen-listener-tiny-whisper-k4-") for path in paths.plots}
    assert {"log-loss.png", "differences.png", "by-person.png", "gain.png", "time.png"} <= names
    assert "| Log loss ↓ | K = 4 | K = 32 |" in paths.markdown.read_text().splitlines()
    found = make_comparisons(results)
    assert "lowest log loss: " in overall_verdicts(found)[0]
    for comparison in found:
        losses = [row["metrics"]["log_loss"]["mean"] for row in comparison.rows if row["route"] != "trivial"]
        assert losses == sorted(losses)
        assert comparison.differences[0]["metric"] == "log_loss"


def test_the_terminal_has_room_for_the_headline(scores):
    console = Console(file=StringIO(), width=80)
    print_tables(aggregate_results(scores[:1], "t"), console)
    shown = console.file.getvalue()
    assert "Log loss ↓ (95%)" in shown
    assert max(map(len, shown.splitlines()[:20])) <= 80


def test_rows_of_both_versions_are_put_into_one_table(scores, make_scores):
    """Where an older run is merged with a newer one, what it lacks is said to be not measured."""
    results = aggregate_results(scores[:1], "t")
    del results["rows"][-1]["metrics"]["log_loss"]
    (comparison,) = make_comparisons(results)
    assert comparison.headline.metric == "maF1"
    texts = [column.text(results["rows"][-1]) for column in comparison.columns("markdown")]
    assert "not measured" in texts
