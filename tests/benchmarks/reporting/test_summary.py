"""Values read out of rows and paired differences."""

import statistics

import numpy as np
import pytest

from benchmarks.measuring.aggregate import aggregate_results
from benchmarks.reporting.summary import (
    LOG_LOSS,
    MACRO_F1,
    best_of_routes,
    by_person,
    headline,
    paired,
    person_spread,
)


def row(method, route, mean, **more):
    return {"method": method, "route": route, "metrics": {"maF1": {"mean": mean}}} | more


def test_the_best_of_a_route_is_neither_trivial_nor_a_baseline_nor_without_a_score():
    rows = [
        row("random", "trivial", 0.9),
        row("prior-shift", "meta-perser", 0.8),
        row("entire-zero", "meta-perser", 0.7),
        row("head-few", "meta-perser", 0.3),
        row("meta-perser", "meta-perser", 0.4),
        row("speech-lm-8", "speech-lm", 0.5),
        row("speech-lm-0", "speech-lm", float("nan")),
        {"method": "bare", "route": "third", "metrics": {}},
    ]
    assert [best["method"] for best in best_of_routes(rows)] == ["speech-lm-8", "meta-perser"]
    assert best_of_routes([]) == []


def test_a_pair_is_found_in_either_order():
    listed = [
        {"a": "m", "b": "n", "metric": "miF1", "mean": 0.9, "low": 0.8, "high": 1.0},
        {"a": "m", "b": "n", "metric": "maF1", "mean": 0.1, "low": -0.1, "high": 0.4},
    ]
    assert paired("m", "n", listed) == (0.1, -0.1, 0.4, False)
    assert paired("n", "m", listed) == (-0.1, -0.4, 0.1, False)
    assert paired("m", "o", listed) is None
    listed[1]["high"] = None
    assert paired("m", "n", listed) is None


def test_the_spread_is_over_the_means_of_persons(make_scores):
    scores = make_scores()
    for found, method in zip(aggregate_results([scores], "t")["rows"], scores.methods, strict=True):
        means = {}
        for episode in method.episodes:
            means.setdefault(episode.person, []).append(episode.metrics["maF1"])
        means = {person: np.mean(values) for person, values in means.items()}
        spread = person_spread(found, MACRO_F1)
        assert spread.deviation == pytest.approx(statistics.stdev(means.values()), abs=1e-12)
        assert (spread.worst, spread.best) == pytest.approx((min(means.values()), max(means.values())))
        assert means[spread.worst_person] == pytest.approx(spread.worst)
        assert means[spread.best_person] == pytest.approx(spread.best)


def test_fewer_than_two_persons_have_no_spread():
    assert person_spread(row("m", "mine", 0.3), MACRO_F1) is None
    several = {"a": {"maF1": 0.1}, "b": {"maF1": float("nan")}}
    assert by_person({"by_person": several}, "maF1") == {"a": 0.1}
    assert person_spread(row("m", "mine", 0.3, by_person=several), MACRO_F1) is None


def both(method, loss, ma_f1, route="mine"):
    return {
        "method": method,
        "route": route,
        "metrics": {"log_loss": {"mean": loss}, "maF1": {"mean": ma_f1}},
    }


def test_methods_are_ranked_by_log_loss_where_all_rows_have_it():
    rows = [both("certain", 1.2, 0.5), both("calibrated", 1.0, 0.4), both("oracle", 0.8, 0.9)]
    assert headline(rows) is LOG_LOSS
    assert [best["method"] for best in best_of_routes(rows)] == ["calibrated"]
    older = [*rows, row("older", "other", 0.7)]
    assert headline(older) is MACRO_F1
    assert [best["method"] for best in best_of_routes(older)] == ["older", "certain"]


def test_a_lead_in_log_loss_is_by_how_much_it_is_lower():
    listed = [{"a": "m", "b": "n", "metric": "log_loss", "mean": -0.1, "low": -0.2, "high": 0.05}]
    assert LOG_LOSS.lead("m", "n", listed) == (0.1, -0.05, 0.2, False)
    assert LOG_LOSS.lead("n", "m", listed) == (-0.1, -0.2, 0.05, False)
    assert MACRO_F1.lead("m", "n", listed) is None


def test_the_worst_person_in_log_loss_has_the_highest():
    spread = person_spread(
        {"by_person": {"a": {"log_loss": 1.4}, "b": {"log_loss": 0.9}, "c": {"log_loss": 1.0}}}, LOG_LOSS
    )
    assert (spread.worst_person, spread.worst, spread.best_person, spread.best) == ("a", 1.4, "b", 0.9)


def test_an_interval_that_holds_for_all_pairs_is_read_where_there_is_one():
    pair = {"a": "m", "b": "n", "metric": "maF1", "mean": 0.1, "low": 0.05, "high": 0.2}
    listed = [pair | {"adjusted": [-0.02, 0.3]}]
    assert paired("m", "n", listed) == (0.1, -0.02, 0.3, True)
    assert paired("n", "m", listed) == (-0.1, -0.3, 0.02, True)
