import pytest

from benchmarks.measuring.aggregate import costs, pool
from benchmarks.reporting.comparisons import comparisons, sweeps


@pytest.fixture(scope="module")
def scores(make_scores):
    return [
        make_scores(k=4),
        make_scores(k=32),
        make_scores(k=32, encoder="facebook/hubert-base-ls960"),
        make_scores(k=32, axis="speaker"),
    ]


def test_encoders_are_never_ranked_against_each_other(scores):
    found = comparisons(pool(scores, "t"), costs(scores))
    assert len(found) == 4
    assert {len(one.rows) for one in found} == {10}
    assert {len(one.differences) for one in found} == {4 * 42}
    assert {len(one.costs) for one in found} == {10}
    for name in ("title", "table_file"):
        assert len({getattr(one, name) for one in found}) == 4
    assert len({one.plot_file(plot) for one in found for plot in one.plots}) == sum(
        len(one.plots) for one in found
    )
    assert found[0].title == "toy, unseen, personalized to the listener, facebook/hubert-base-ls960, K = 32"
    assert found[0].table_file == "tables/toy-unseen-listener-facebook-hubert-base-ls960-k32.tex"


def test_only_k_differs_within_a_sweep(scores):
    (sweep,) = sweeps(comparisons(pool(scores, "t")))
    assert sweep.title == "toy, unseen, personalized to the listener, tiny-whisper, K = 4, 32"
    assert sweep.file == "plots/toy-unseen-listener-tiny-whisper-by-k.png"


def test_an_encoder_that_is_not_named_is_not_shown(make_scores):
    results = pool([make_scores(encoder="")], "t")
    (named,) = comparisons(results)
    for one in (*results["rows"], *results["differences"]):
        del one["encoder"]  # as results from before encoders were told apart
    (older,) = comparisons(results)
    for one in (named, older):
        assert one.title == "toy, unseen, personalized to the listener, K = 32"
        assert one.table_file == "tables/toy-unseen-listener-k32.tex"
        assert len(one.differences) == 4 * 42


def test_costs_are_laid_out_for_the_best_of_each_route_and_the_baselines(scores):
    (one, *_) = comparisons(pool(scores[:1], "t"), costs(scores[:1]))
    assert {row["method"] for row in one.routes} >= {"entire-zero", "prior-shift"}
    assert len(one.routes) == 4
    others = [row for row in one.routes if row["method"] not in ("entire-zero", "prior-shift")]
    for row in others:
        rivals = [each for each in one.rows if each["route"] == row["route"]]
        rivals = [each for each in rivals if each["method"] not in ("entire-zero", "prior-shift")]
        assert row["metrics"]["maF1"]["mean"] == max(each["metrics"]["maF1"]["mean"] for each in rivals)
    assert one.costs["head-few"]["moved"] == 5_000
    assert one.costs["speech-lm-8"]["peak_bytes"] == 90 * 2**20
