"""No route wins more than the intervals give."""

import pytest

from benchmarks.reporting.comparisons import comparisons
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


def lines(found):
    return {line.quantity: line.outcomes for line in found.lines}


def wins(rows, differences=(), costs=()):
    return compare_routes(comparisons({"rows": rows, "differences": list(differences)}, costs))


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ([difference(0.1, 0.05)], "gradient is ahead (g minus p: +10.0 points, +5.0 to +15.0)."),
        ([difference(-0.1, 0.05, "p", "g")], "gradient is ahead (g minus p: +10.0 points, +5.0 to +15.0)."),
        ([difference(0.1, 0.1)], "within chance (g minus p: +10.0 points, +0.0 to +20.0)."),
        ([difference(0.1, 0.2)], "within chance"),
        ([], "not paired (g and p)."),
    ],
)
def test_a_lead_is_one_where_its_interval_leaves_out_zero(differences, said):
    (found,) = wins(rows(), differences)
    assert lines(found)["Macro-F1"].startswith(said)


def test_who_is_ahead_depends_on_where():
    given = [*rows(), *rows(0.2, 0.5, k=32), *rows(0.3, 0.31, k=64)]
    (found,) = wins(
        given, [difference(0.1, 0.05), difference(-0.3, 0.1, k=32), difference(-0.01, 0.05, k=64)]
    )
    text = lines(found)["Macro-F1"]
    assert "gradient is ahead at K = 8 (" in text
    assert "prompt is ahead at K = 32 (p minus g: +30.0 points" in text
    assert "within chance at K = 64 (" in text


def test_listeners_and_speakers_are_never_put_together():
    found = wins([*rows(), *rows(k=32), *rows(person_axis="speaker")])
    assert [(one.person_axis, one.routes) for one in found] == [
        ("listener", ("gradient", "prompt")),
        ("speaker", ("gradient", "prompt")),
    ]
    assert "K = " in lines(found[0])["Macro-F1"]
    assert "K = " not in lines(found[1])["Macro-F1"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ((1.0, 2.1), "gradient takes less (g 1.0 s, p 2.1 s)."),
        ((5.0, 1.0), "prompt takes less (p 1.0 s, g 5.0 s)."),
        ((1.0, 2.0), "alike (g 1.0 s, p 2.0 s)."),
        ((0.0, 0.0), "alike"),
    ],
)
def test_a_cost_is_less_where_it_is_by_a_clear_factor(seconds, said):
    (found,) = wins(rows(), costs=[cost("g", seconds[0]), cost("p", seconds[1])])
    assert lines(found)["Time to personalize"].startswith(said)


def test_what_nobody_measured_is_not_compared():
    (found,) = wins(rows(), costs=[cost("g", 1.0), cost("p", None)])
    assert list(lines(found)) == ["Macro-F1"]
    (found,) = wins([*rows(), *rows(k=32)], costs=[cost("g", 1.0, k=32), cost("p", 9.0, k=32)])
    assert lines(found)["Time to personalize"] == "gradient takes less at K = 32."


def test_one_route_alone_wins_nothing():
    assert wins([one for one in rows() if one["route"] != "prompt"]) == []


def test_of_three_routes_every_two_are_compared():
    third = {"method": "x", "route": "other", "metrics": {"maF1": {"mean": 0.1}}} | SETTING
    assert [one.routes for one in wins([*rows(), third])] == [
        ("gradient", "other"),
        ("gradient", "prompt"),
        ("other", "prompt"),
    ]
