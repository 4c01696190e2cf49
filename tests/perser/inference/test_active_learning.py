from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from perser.errors import UserError
from perser.inference.active_learning import (
    CANDIDATES_AT_ONCE,
    comparable,
    representatives,
    suggest,
    uncertainty,
)
from perser.inference.recognizer import Recognizer

NONE = np.zeros((0, 2))


def left(places, weights, chosen, labeled=NONE):
    """What is minimized, one clip and one center at a time."""
    centers = [*places[list(chosen)], *labeled]
    return sum(
        weight * min(np.linalg.norm(place - one) for one in centers)
        for weight, place in zip(weights, places, strict=True)
    )


@pytest.mark.parametrize("count", [0, 3])
def test_each_choice_is_the_best_next_one(count):
    rng = np.random.default_rng(0)
    places, weights, labeled = rng.normal(size=(40, 2)), rng.random(40), rng.normal(size=(count, 2))
    chosen = [place for place, _ in representatives(places, weights, 5, labeled)]
    for step in range(5):
        before = chosen[:step]
        sums = [left(places, weights, [*before, other], labeled) for other in range(40)]
        assert sums[chosen[step]] == pytest.approx(min(sums))


def test_it_comes_near_to_the_best_of_all_choices():
    rng = np.random.default_rng(1)
    places, weights = rng.normal(size=(12, 2)), rng.random(12)
    found = left(places, weights, [place for place, _ in representatives(places, weights, 3, NONE)])
    best = min(left(places, weights, one) for one in combinations(range(12), 3))
    assert best <= found <= 1.3 * best


def test_distances_are_to_the_nearest_labeled_or_chosen():
    places = np.array([[0.0, 0], [1, 0], [10, 0], [10, 1]])
    weights = np.array([3.0, 1, 1, 0.5])
    assert representatives(places, weights, 2, NONE) == [(0, None), (2, 10.0)]
    assert representatives(places, weights, 9, places[:1] + 1)[0] == (2, pytest.approx(np.hypot(9, 1)))
    assert sorted(place for place, _ in representatives(places, weights, 9, NONE)) == [0, 1, 2, 3]


def test_clips_that_are_alike_are_chosen_once_each():
    chosen = representatives(np.zeros((5, 2)), np.zeros(5), 5, np.zeros((1, 2)))
    assert sorted(chosen) == [(place, 0.0) for place in range(5)]


def test_a_large_pool_is_read_in_parts():
    places = np.random.default_rng(2).normal(size=(2 * CANDIDATES_AT_ONCE + 7, 2))
    places[-1] = 50  # the last part's
    weights = np.ones(len(places))
    weights[-1] = 1000
    assert representatives(places, weights, 1, NONE)[0][0] == len(places) - 1


def test_one_models_uncertainty_is_its_entropys_share():
    answers = np.random.default_rng(3).dirichlet(np.ones(4), size=9)
    np.testing.assert_allclose(uncertainty([answers]), entropy(answers, axis=1, base=4))
    np.testing.assert_allclose(uncertainty([np.eye(4), np.eye(4)]), 0, atol=1e-12)


def test_several_models_uncertainty_is_what_they_disagree_on():
    one, other = np.random.default_rng(4).dirichlet(np.ones(3), size=(2, 9))
    expected = jensenshannon(one, other, axis=1, base=2) ** 2
    np.testing.assert_allclose(uncertainty([one, other]), expected, atol=1e-9)
    np.testing.assert_allclose(uncertainty([np.eye(3), np.eye(3)[[1, 2, 0]]]), 1)
    even = np.full((1, 3), 1 / 3)
    assert uncertainty([even, even]) == pytest.approx(0)


def test_no_models_representations_outweigh_anothers():
    rng = np.random.default_rng(5)
    one, other = rng.normal(size=(20, 3)), rng.normal(size=(20, 50))
    together = comparable([1000 * one + 7, other])
    assert (together**2).sum(axis=1).mean() == pytest.approx(1)
    assert (together[:, :3] ** 2).sum() == pytest.approx((together[:, 3:] ** 2).sum())
    np.testing.assert_allclose(comparable([np.ones((4, 2)), one[:4]])[:, :2], 0)


@pytest.fixture
def recognizer(fake_model, tmp_path):
    return Recognizer.from_pretrained(tmp_path / "model")


def test_what_is_labeled_is_stayed_away_from(recognizer, write_clip):
    pool = [write_clip(f"{number}.wav", number / 2) for number in range(5)]
    found, failures = suggest([recognizer], pool, 5, labeled=[write_clip("known.wav", 0)])
    assert failures == []
    assert found[-1].path == str(pool[0])
    assert found[0].distance > found[-1].distance == pytest.approx(0, abs=1e-6)
    assert suggest([recognizer], pool, 5, labeled=[])[0][0].distance is None
    again, _ = suggest([recognizer], pool, 2)
    assert again == suggest([recognizer], pool, 5)[0][:2]


def test_bad_clips_cost_the_others_nothing(recognizer, write_clip, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    pool = [write_clip("a.wav", 0), tmp_path / "text.wav", write_clip("long.wav", 1, 1.5), np.full(3200, 0.5)]
    found, failures = suggest([recognizer, recognizer], pool, 4)
    assert {one.path for one in found} == {str(pool[0]), "clip 4"}
    assert {one.path for one in failures} == {str(pool[1]), str(pool[2])}
    assert suggest([recognizer], pool[1:2], 4)[0] == []
    with pytest.raises(UserError, match=r"text\.wav: unreadable"):
        suggest([recognizer], pool[:1], 1, labeled=pool[1:2])


def test_what_makes_no_sense_is_a_line(recognizer, fake_model, write_clip):
    with pytest.raises(UserError, match="n: 0, give at least 1"):
        suggest([recognizer], [write_clip("a.wav", 0)], 0)
