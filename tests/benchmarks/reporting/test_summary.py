"""Values read out of rows and paired differences."""

import statistics

import numpy as np
import pytest

from benchmarks.measuring.aggregate import aggregate_results
from benchmarks.reporting.summary import best_of_routes, by_person, paired, person_spread


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
    assert paired("m", "n", listed) == (0.1, -0.1, 0.4)
    assert paired("n", "m", listed) == (-0.1, -0.4, 0.1)
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
        spread = person_spread(found)
        assert spread.deviation == pytest.approx(statistics.stdev(means.values()), abs=1e-12)
        assert (spread.worst, spread.best) == pytest.approx((min(means.values()), max(means.values())))
        assert means[spread.worst_person] == pytest.approx(spread.worst)
        assert means[spread.best_person] == pytest.approx(spread.best)


def test_fewer_than_two_persons_have_no_spread():
    assert person_spread(row("m", "mine", 0.3)) is None
    several = {"a": {"maF1": 0.1}, "b": {"maF1": float("nan")}}
    assert by_person({"by_person": several}) == {"a": 0.1}
    assert person_spread(row("m", "mine", 0.3, by_person=several)) is None
