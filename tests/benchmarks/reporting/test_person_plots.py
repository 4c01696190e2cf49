"""The plots of single persons show each person once, on the right axes."""

import numpy as np
import pytest

from benchmarks.measuring.aggregate import aggregate_results
from benchmarks.reporting.canvas import DARK, LIGHT
from benchmarks.reporting.person_plots import gain_over_zero, route_against_route


@pytest.fixture(scope="module")
def rows(make_scores):
    return aggregate_results([make_scores()], "t")["rows"]


def drawn(plot, theme=LIGHT):
    (axes,) = plot.draw(theme).axes
    return axes


def scores_of(rows, method):
    (by_person,) = [row["by_person"] for row in rows if row["method"] == method]
    return {person: 100 * metrics["maF1"] for person, metrics in by_person.items()}


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_each_person_is_a_dot(rows, theme):
    axes = drawn(route_against_route(rows), theme)
    (dots,) = axes.collections
    up, across = scores_of(rows, "meta-perser"), scores_of(rows, "speech-lm-8")
    expected = {(across[person], up[person]) for person in up}
    assert {tuple(dot) for dot in dots.get_offsets().tolist()} == expected
    higher = sum(up[person] > across[person] for person in up)
    assert [text.get_text() for text in axes.texts] == [
        f"meta-perser higher\nfor {higher} of 12",
        f"speech-lm-8 higher\nfor {12 - higher} of 12",
    ]
    ends = axes.lines[0].get_xydata()
    assert (ends[:, 0] == ends[:, 1]).all()


def test_gains_are_sorted_and_over_entire_zero_on_the_same_person(rows):
    axes = drawn(gain_over_zero(rows))
    zero = scores_of(rows, "entire-zero")
    lines = {line.get_label().partition(":")[0]: line.get_ydata() for line in axes.lines}
    for method in ("meta-perser", "speech-lm-8"):
        own = scores_of(rows, method)
        assert np.allclose(lines[method], sorted(own[person] - zero[person] for person in zero))


def test_nothing_is_drawn_without_a_second_route_or_entire_zero(rows):
    assert route_against_route([row for row in rows if row["route"] != "speech-lm"]) is None
    assert gain_over_zero([row for row in rows if row["method"] != "entire-zero"]) is None
    without_persons = [{key: value for key, value in row.items() if key != "by_person"} for row in rows]
    assert route_against_route(without_persons) is None
    assert gain_over_zero(without_persons) is None
