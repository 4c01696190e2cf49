"""The grid grows where its best value is at an edge, and says so."""

from __future__ import annotations

import numpy as np
import pytest

from perser.selection.grid import Grid, search

VALUES = tuple(10.0**power for power in range(-4, 6))


class Curve:
    """Scores of items that fall with the distance to an optimum; counts what was asked."""

    def __init__(self, optimum, noise=0.0):
        self.optimum = optimum
        self.noise = noise
        self.asked = {}

    def __call__(self, value, start, stop):
        known = self.asked.setdefault(value, [])
        assert len(known) == start, "nothing is asked for twice, and nothing is left out"
        rng = np.random.default_rng([int(np.log10(value)) + 50, start])
        new = -abs(np.log10(value) - self.optimum) + self.noise * rng.standard_normal(stop - start)
        known += new.tolist()
        return new.tolist()


@pytest.mark.parametrize("optimum", range(-4, 6))
def test_the_best_value_is_found_wherever_it_is(optimum):
    curve = Curve(optimum)
    found = search(Grid(VALUES, (3, 6)), curve, 8)
    assert found.value == 10.0**optimum
    inside = found.lowest < found.value < found.highest
    assert found.at_limit == (not inside) == (optimum in (-4, 5))
    assert set(curve.asked) == {value for value in VALUES if found.lowest <= value <= found.highest}
    assert ("at the limit" in found.text) == found.at_limit


def test_a_grid_whose_best_value_is_inside_does_not_grow():
    curve = Curve(0.6)
    found = search(Grid(VALUES, (3, 6)), curve, 8)
    assert (found.value, found.lowest, found.highest) == (10.0, 0.1, 100.0)
    assert found.text == "0.1 to 100"


def test_a_value_beyond_the_edge_is_compared_on_the_same_items_until_it_is_clearly_worse():
    curve = Curve(3, noise=0.2)
    found = search(Grid(VALUES, (3, 6)), curve, 16)
    assert found.value == 1000.0
    assert len(curve.asked[100.0]) == len(curve.asked[1000.0]) == 16
    assert 2 <= len(curve.asked[10000.0]) <= 16


@pytest.mark.parametrize("optimum", [-4, 0, 5])
def test_a_grid_of_one_value_grows_in_both_directions(optimum):
    assert search(Grid(VALUES, (5, 5)), Curve(optimum), 4).value == 10.0**optimum
