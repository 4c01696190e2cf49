"""A route is called ahead only where the intervals or the costs show it clearly."""

import pytest

from benchmarks.reporting.comparisons import make_comparisons
from benchmarks.reporting.route_comparison import compare_routes

SETTING = {"corpus": "toy", "scenario": "unseen", "person_axis": "listener", "encoder": "", "k": 8}


def rows(first=0.4, second=0.3, **setting):
    return [
        {"method": method, "route": route, "metrics": {"maF1": {"mean": mean}}} | SETTING | setting
        for method, route, mean in (("g", "gradient", first), ("p", "prompt", second), ("r", "trivial", 0.9))
    ]


def difference(mean, half, a="g", b="p", **setting):
    bounds = {"mean": mean, "low": mean - half, "high": mean + half}
    return {"a": a, "b": b, "metric": "maF1"} | bounds | SETTING | setting


def cost(method, seconds, **setting):
    return {"method": method, "seconds_personalize": seconds} | SETTING | setting


def outcomes(found):
    return {quantity.quantity: quantity.outcomes for quantity in found.quantities}


def compare(rows, differences=(), costs=()):
    return compare_routes(make_comparisons({"rows": rows, "differences": list(differences)}, costs))


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([difference(0.1, 0.05)], "gradient is ahead (g minus p: +10.0 points, +5.0 to +15.0)."),
        ([difference(-0.1, 0.05, "p", "g")], "gradient is ahead (g minus p: +10.0 points, +5.0 to +15.0)."),
        ([difference(0.1, 0.1)], "within chance (g minus p: +10.0 points, +0.0 to +20.0)."),
        ([difference(0.1, 0.2)], "within chance"),
        ([], "not paired (g and p)."),
    ],
)
def test_a_route_is_ahead_where_the_interval_leaves_out_zero(differences, expected):
    (found,) = compare(rows(), differences)
    assert outcomes(found)["Macro-F1"].startswith(expected)


def test_different_routes_may_be_ahead_in_different_settings():
    measured = [*rows(), *rows(0.2, 0.5, k=32), *rows(0.3, 0.31, k=64)]
    (found,) = compare(
        measured, [difference(0.1, 0.05), difference(-0.3, 0.1, k=32), difference(-0.01, 0.05, k=64)]
    )
    text = outcomes(found)["Macro-F1"]
    assert "gradient is ahead at K = 8 (" in text
    assert "prompt is ahead at K = 32 (p minus g: +30.0 points" in text
    assert "within chance at K = 64 (" in text


def test_listeners_and_speakers_are_never_put_together():
    found = compare([*rows(), *rows(k=32), *rows(person_axis="speaker")])
    assert [(routes.person_axis, routes.routes) for routes in found] == [
        ("listener", ("gradient", "prompt")),
        ("speaker", ("gradient", "prompt")),
    ]
    assert "K = " in outcomes(found[0])["Macro-F1"]
    assert "K = " not in outcomes(found[1])["Macro-F1"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((1.0, 2.1), "gradient takes less (g 1.0 s, p 2.1 s)."),
        ((5.0, 1.0), "prompt takes less (p 1.0 s, g 5.0 s)."),
        ((1.0, 2.0), "alike (g 1.0 s, p 2.0 s)."),
        ((0.0, 0.0), "alike"),
    ],
)
def test_a_cost_is_less_only_by_a_clear_factor(seconds, expected):
    (found,) = compare(rows(), costs=[cost("g", seconds[0]), cost("p", seconds[1])])
    assert outcomes(found)["Time to personalize"].startswith(expected)


def test_costs_that_were_not_measured_are_not_compared():
    (found,) = compare(rows(), costs=[cost("g", 1.0), cost("p", None)])
    assert list(outcomes(found)) == ["Macro-F1"]
    (found,) = compare([*rows(), *rows(k=32)], costs=[cost("g", 1.0, k=32), cost("p", 9.0, k=32)])
    assert outcomes(found)["Time to personalize"] == "gradient takes less at K = 32."


def test_a_single_route_is_not_compared():
    assert compare([row for row in rows() if row["route"] != "prompt"]) == []


def test_every_two_of_three_routes_are_compared():
    third = {"method": "x", "route": "other", "metrics": {"maF1": {"mean": 0.1}}} | SETTING
    assert [routes.routes for routes in compare([*rows(), third])] == [
        ("gradient", "other"),
        ("gradient", "prompt"),
        ("other", "prompt"),
    ]
