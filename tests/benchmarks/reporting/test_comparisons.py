"""Rows of different settings are separate comparisons."""

import pytest

from benchmarks.measuring.aggregate import aggregate_costs, aggregate_results
from benchmarks.reporting.comparisons import make_comparisons, make_sweeps


@pytest.fixture(scope="module")
def scores(make_scores):
    return [
        make_scores(k=4),
        make_scores(k=32),
        make_scores(k=32, encoder="facebook/hubert-base-ls960"),
        make_scores(k=32, axis="speaker"),
    ]


def test_encoders_are_never_ranked_against_each_other(scores):
    found = make_comparisons(aggregate_results(scores, "t"), aggregate_costs(scores))
    assert len(found) == 4
    assert {len(comparison.rows) for comparison in found} == {10}
    assert {len(comparison.differences) for comparison in found} == {4 * 42}
    assert {len(comparison.costs) for comparison in found} == {10}
    for name in ("title", "table_file"):
        assert len({getattr(comparison, name) for comparison in found}) == 4
    files = [comparison.plot_file(plot) for comparison in found for plot in comparison.plots]
    assert len(set(files)) == len(files)
    assert found[0].title == "toy, unseen, personalized to the listener, facebook/hubert-base-ls960, K = 32"
    assert found[0].table_file == "tables/toy-unseen-listener-facebook-hubert-base-ls960-k32.tex"


def test_comparisons_that_differ_only_in_k_are_a_sweep(scores):
    (sweep,) = make_sweeps(make_comparisons(aggregate_results(scores, "t")))
    assert sweep.title == "toy, unseen, personalized to the listener, tiny-whisper, K = 4, 32"
    assert sweep.file == "plots/toy-unseen-listener-tiny-whisper-by-k.png"


def test_results_without_an_encoder_show_none(make_scores):
    results = aggregate_results([make_scores(encoder="")], "t")
    (named,) = make_comparisons(results)
    for row in (*results["rows"], *results["differences"]):
        del row["encoder"]  # as results from before encoders were told apart
    (older,) = make_comparisons(results)
    for comparison in (named, older):
        assert comparison.title == "toy, unseen, personalized to the listener, K = 32"
        assert comparison.table_file == "tables/toy-unseen-listener-k32.tex"
        assert len(comparison.differences) == 4 * 42


def test_costs_are_shown_for_the_best_of_each_route_and_the_baselines(scores):
    (comparison, *_) = make_comparisons(aggregate_results(scores[:1], "t"), aggregate_costs(scores[:1]))
    assert {row["method"] for row in comparison.routes} >= {"entire-zero", "prior-shift"}
    assert len(comparison.routes) == 4
    others = [row for row in comparison.routes if row["method"] not in ("entire-zero", "prior-shift")]
    for row in others:
        rivals = [rival for rival in comparison.rows if rival["route"] == row["route"]]
        rivals = [rival for rival in rivals if rival["method"] not in ("entire-zero", "prior-shift")]
        assert row["metrics"]["maF1"]["mean"] == max(rival["metrics"]["maF1"]["mean"] for rival in rivals)
    assert comparison.costs["head-few"]["moved"] == 5_000
    assert comparison.costs["speech-lm-8"]["peak_bytes"] == 90 * 2**20
