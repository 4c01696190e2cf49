"""Successive halving finds the best candidate, tries less than everything, and drops no close one."""

from __future__ import annotations

import numpy as np
import pytest

from perser.selection.halving import successive_halving


class Table:
    """Scores (candidates, items) that are known, and a count of those that were looked at."""

    def __init__(self, scores):
        self.table = np.asarray(scores, dtype=float)
        self.seen = np.zeros(self.table.shape, dtype=int)

    def scores(self, candidate, start, stop):
        self.seen[candidate, start:stop] += 1
        return self.table[candidate, start:stop].tolist()

    def choose(self):
        candidates, items = self.table.shape
        return successive_halving(range(candidates), self.scores, items)


def fine_tuning_scores(rng, items=8):
    """Scores as those of five rates: persons differ most, then the noise, and one rate is the optimum."""
    rates = np.arange(5)[:, None]
    optimum, curvature = rng.uniform(0, 4), rng.uniform(0.01, 0.06)
    persons, noise = rng.normal(0, 0.1, (1, items)), rng.normal(0, 0.06, (5, items))
    return 0.45 - curvature * (rates - optimum) ** 2 + persons + noise


@pytest.mark.parametrize("optimum", range(5))
def test_a_clear_optimum_is_found_without_trying_everything(optimum):
    rng = np.random.default_rng(optimum)
    distance = np.abs(np.arange(5) - optimum)[:, None]
    table = Table(0.5 - 0.1 * distance + rng.normal(0, 0.1, (1, 8)) + rng.normal(0, 0.005, (5, 8)))
    assert table.choose() == optimum
    assert table.seen.sum() == 2 * 5 + 2 * 3 + 4 * 2


def test_nothing_is_tried_twice_and_the_chosen_one_on_everything():
    for seed in range(200):
        table = Table(fine_tuning_scores(np.random.default_rng(seed)))
        chosen = table.choose()
        assert table.seen.max() == 1
        assert table.seen[chosen].all() or (table.seen[:, -1] == 0).all()


def test_what_trying_everything_finds_clearly_worse_is_never_chosen():
    shares = []
    for seed in range(2000):
        table = Table(fine_tuning_scores(np.random.default_rng(seed)))
        chosen, best = table.choose(), int(table.table.mean(axis=1).argmax())
        differences = table.table[best] - table.table[chosen]
        assert differences.mean() <= 2 * differences.std(ddof=1) / np.sqrt(len(differences))
        shares.append(table.seen.mean())
    assert np.mean(shares) < 0.75


def test_candidates_that_cannot_be_told_apart_are_all_tried_on_everything():
    """Which of two is ahead changes from item to item, so that neither is dropped on the first few."""
    even = np.tile([0.0, 1.0], 8)
    table = Table([0.5 + 0.1 * even, 0.6 - 0.1 * even, 0.51 + 0.1 * even, 0.55 + 0 * even])
    assert table.choose() == 2
    assert table.seen.all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (5, 1), (5, 2), (5, 3), (2, 7), (9, 32)])
def test_any_number_of_candidates_and_items_will_do(shape):
    candidates, items = shape
    means = np.arange(candidates)[:, None] % 4
    table = Table(np.repeat(means, items, axis=1))
    assert table.choose() == int(means.argmax()), "of equal ones the first"


def test_the_choice_is_the_same_every_time():
    scores = fine_tuning_scores(np.random.default_rng(5))
    first, second = Table(scores), Table(scores)
    assert first.choose() == second.choose()
    assert np.array_equal(first.seen, second.seen)
