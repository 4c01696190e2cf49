"""The main picture has a dot for each person, at the place of the person's gain."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.reporting.page.picture import DOT_WIDTH, MOST_DOTS, main_picture
from tests.benchmarks.reporting.page.toy_rows import LEARNS, ZERO, comparison, pair, row


def test_dots_stand_right_of_the_line_where_a_person_gains():
    picture = main_picture(comparison([ZERO, LEARNS], [pair("learns", "entire-zero", -0.15, 0.1)]))
    (strip,) = picture.strips
    assert (picture.person, picture.unit, strip.who) == ("listener", "nats", "3 of 4 listeners gain")
    assert [dot.left > picture.zero for dot in strip.dots] == [False, True, True, True]
    assert strip.dots[0].text == "p2: loses 0.10 nats"
    assert strip.dots[3].text == "p3: gains 0.40 nats"
    low, high = strip.span
    assert picture.zero < low < strip.mean < high
    # Places are linear in the gain.
    places = {float(text.replace("−", "-")): left for left, text in picture.ticks}  # noqa: RUF001
    ticks, lefts = list(places), list(places.values())
    assert np.interp(0.15, ticks, lefts) == pytest.approx(strip.mean, abs=0.1)


def test_dots_that_would_cover_each_other_are_moved_apart():
    rng = np.random.default_rng(0)
    zero = row("entire-zero", [2.0] * 60)
    (strip,) = main_picture(comparison([zero, row("learns", list(rng.uniform(1, 2, 60)))])).strips
    for place, dot in enumerate(strip.dots):
        for other in strip.dots[:place]:
            assert dot.level != other.level or abs(dot.left - other.left) >= DOT_WIDTH - 1e-9
    assert {dot.level for dot in strip.dots} > {0}


def test_of_many_persons_some_are_shown_and_that_is_said():
    zero, many = row("entire-zero", [1.0] * 700), row("learns", list(np.linspace(0.5, 1.5, 700)))
    picture = main_picture(comparison([zero, many]))
    (strip,) = picture.strips
    assert len(strip.dots) == MOST_DOTS
    assert strip.who == "about 5 of 10 listeners gain (350 of 700)"
    assert "100 of 700 listeners are shown" in picture.note


def test_without_entire_zero_there_is_no_picture():
    assert main_picture(comparison([LEARNS])) is None
    same = main_picture(comparison([ZERO, ZERO | {"method": "same"}]))
    assert {dot.left for dot in same.strips[0].dots} == {same.zero}
