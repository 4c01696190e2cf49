"""Who gains is counted and said in plain words, with no more certainty than the intervals give."""

from __future__ import annotations

import math

import pytest

from benchmarks.reporting.page.gains import gains_of, plain_words, share_text
from tests.benchmarks.reporting.page.toy_rows import LEARNS, ZERO, comparison, pair, row


@pytest.mark.parametrize(
    ("count", "total", "expected"),
    [
        (32, 32, "all 32 listeners gain"),
        (29, 32, "about 9 of 10 listeners gain (29 of 32)"),
        (31, 32, "almost all listeners gain (31 of 32)"),
        (1, 32, "hardly any listeners gain (1 of 32)"),
        (16, 32, "about 5 of 10 listeners gain (16 of 32)"),
        (0, 32, "none of the 32 listeners gains"),
        (5, 6, "5 of 6 listeners gain"),
        (1, 6, "1 of 6 listeners gains"),
        (1, 1, "the one listener gains"),
        (0, 1, "the one listener does not gain"),
    ],
)
def test_a_share_is_said_in_tenths(count, total, expected):
    assert share_text(count, total, "listener") == expected


def test_gains_are_differences_from_entire_zero_so_that_more_is_better():
    (gains,) = gains_of(comparison([ZERO, LEARNS]))
    assert list(gains.by_person) == ["p2", "p0", "p1", "p3"], "from the least gain to the most"
    assert list(gains.by_person.values()) == pytest.approx([-0.1, 0.1, 0.2, 0.4])
    assert (gains.gaining, gains.mean) == (3, pytest.approx(0.15))


def test_gains_of_macro_f1_are_in_points():
    rows = [row("entire-zero", [0.3, 0.4], metric="maF1"), row("learns", [0.35, 0.3], metric="maF1")]
    (gains,) = gains_of(comparison(rows))
    assert list(gains.by_person.values()) == pytest.approx([-10, 5])


def test_persons_whom_entire_zero_lacks_are_left_out():
    (gains,) = gains_of(comparison([row("entire-zero", [1.0, 1.2]), LEARNS]))
    assert set(gains.by_person) == {"p0", "p1"}
    assert gains_of(comparison([LEARNS])) == []


def test_the_words_say_who_gains_and_what_probability_is_given():
    text = plain_words(comparison([ZERO, LEARNS], [pair("learns", "entire-zero", -0.15, 0.1)]))
    assert text.startswith(
        "learns has the best answers. With 8 labeled clips of each listener, 3 of 4 listeners gain"
    )
    own, without = math.exp(-1.15), math.exp(-1.3)
    assert f"a probability of {own:.0%}; entire-zero gives it {without:.0%}" in text
    assert "Chance does not explain this: the mean gain is 0.150 nats (95% interval 0.050 to 0.250)" in text


def test_the_words_are_no_surer_than_the_intervals():
    unsure = pair("learns", "entire-zero", -0.15, 0.2)
    text = plain_words(comparison([ZERO, LEARNS], [unsure]))
    assert "Chance may explain this" in text
    assert "It may be no better than entire-zero: chance can explain its lead over it." in text
    assert "hance" not in plain_words(comparison([ZERO, LEARNS])), "nothing was paired"


def test_the_words_name_no_winner_where_nothing_is_learned():
    assert plain_words(comparison([ZERO, row("worse", [2.0] * 4)])).startswith(
        "No method that learns from a listener's"
    )
    assert plain_words(comparison([ZERO, row("random", [0.5] * 4, "trivial")])) == ""
    assert plain_words(comparison([row("random", [0.5] * 4, "trivial")])) == ""
