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


def weighted_distance(places, weights, chosen, labeled=NONE):
    """The sum that is minimized, computed one clip and one center at a time."""
    centers = [*places[list(chosen)], *labeled]
    return sum(
        weight * min(np.linalg.norm(place - center) for center in centers)
        for weight, place in zip(weights, places, strict=True)
    )


@pytest.mark.parametrize("count", [0, 3])
def test_each_choice_is_the_best_next_one(count):
    rng = np.random.default_rng(0)
    places, weights, labeled = rng.normal(size=(40, 2)), rng.random(40), rng.normal(size=(count, 2))
    chosen = [place for place, _ in representatives(places, weights, 5, labeled)]
    for step in range(5):
        before = chosen[:step]
        sums = [weighted_distance(places, weights, [*before, other], labeled) for other in range(40)]
        assert sums[chosen[step]] == pytest.approx(min(sums))


def test_greedy_choices_are_close_to_the_best_set():
    rng = np.random.default_rng(1)
    places, weights = rng.normal(size=(12, 2)), rng.random(12)
    chosen = [place for place, _ in representatives(places, weights, 3, NONE)]
    found = weighted_distance(places, weights, chosen)
    best = min(weighted_distance(places, weights, others) for others in combinations(range(12), 3))
    assert best <= found <= 1.3 * best


def test_distances_are_to_the_nearest_labeled_or_chosen_clip():
    places = np.array([[0.0, 0], [1, 0], [10, 0], [10, 1]])
    weights = np.array([3.0, 1, 1, 0.5])
    assert representatives(places, weights, 2, NONE) == [(0, None), (2, 10.0)]
    assert representatives(places, weights, 9, places[:1] + 1)[0] == (2, pytest.approx(np.hypot(9, 1)))
    assert sorted(place for place, _ in representatives(places, weights, 9, NONE)) == [0, 1, 2, 3]


def test_identical_clips_are_chosen_once_each():
    chosen = representatives(np.zeros((5, 2)), np.zeros(5), 5, np.zeros((1, 2)))
    assert sorted(chosen) == [(place, 0.0) for place in range(5)]


def test_a_large_pool_is_read_in_parts():
    places = np.random.default_rng(2).normal(size=(2 * CANDIDATES_AT_ONCE + 7, 2))
    places[-1] = 50  # in the last part
    weights = np.ones(len(places))
    weights[-1] = 1000
    assert representatives(places, weights, 1, NONE)[0][0] == len(places) - 1


def test_the_uncertainty_of_one_model_is_its_normalized_entropy():
    answers = np.random.default_rng(3).dirichlet(np.ones(4), size=9)
    np.testing.assert_allclose(uncertainty([answers]), entropy(answers, axis=1, base=4))
    np.testing.assert_allclose(uncertainty([np.eye(4), np.eye(4)]), 0, atol=1e-12)


def test_the_uncertainty_of_several_models_is_their_disagreement():
    first, second = np.random.default_rng(4).dirichlet(np.ones(3), size=(2, 9))
    expected = jensenshannon(first, second, axis=1, base=2) ** 2
    np.testing.assert_allclose(uncertainty([first, second]), expected, atol=1e-9)
    np.testing.assert_allclose(uncertainty([np.eye(3), np.eye(3)[[1, 2, 0]]]), 1)
    even = np.full((1, 3), 1 / 3)
    assert uncertainty([even, even]) == pytest.approx(0)


def test_the_representations_of_all_models_weigh_the_same():
    rng = np.random.default_rng(5)
    small, large = rng.normal(size=(20, 3)), rng.normal(size=(20, 50))
    together = comparable([1000 * small + 7, large])
    assert (together**2).sum(axis=1).mean() == pytest.approx(1)
    assert (together[:, :3] ** 2).sum() == pytest.approx((together[:, 3:] ** 2).sum())
    np.testing.assert_allclose(comparable([np.ones((4, 2)), small[:4]])[:, :2], 0)


@pytest.fixture
def recognizer(fake_model, tmp_path):
    return Recognizer.from_pretrained(tmp_path / "model")


def test_suggestions_are_far_from_labeled_clips(recognizer, write_clip):
    pool = [write_clip(f"{number}.wav", number / 2) for number in range(5)]
    found, failures = suggest([recognizer], pool, 5, labeled=[write_clip("known.wav", 0)])
    assert failures == []
    assert found[-1].path == str(pool[0])
    assert found[0].distance > found[-1].distance == pytest.approx(0, abs=1e-6)
    assert suggest([recognizer], pool, 5, labeled=[])[0][0].distance is None
    again, _ = suggest([recognizer], pool, 2)
    assert again == suggest([recognizer], pool, 5)[0][:2]


def test_bad_clips_do_not_affect_the_others(recognizer, write_clip, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    samples = 0.5 + 0.01 * np.sin(np.arange(3200))
    pool = [write_clip("a.wav", 0), tmp_path / "text.wav", write_clip("long.wav", 1, 1.5), samples]
    found, failures = suggest([recognizer, recognizer], pool, 4)
    assert {suggestion.path for suggestion in found} == {str(pool[0]), "clip 4"}
    assert {failure.path for failure in failures} == {str(pool[1]), str(pool[2])}
    assert suggest([recognizer], pool[1:2], 4)[0] == []
    with pytest.raises(UserError, match=r"text\.wav: unreadable"):
        suggest([recognizer], pool[:1], 1, labeled=pool[1:2])


def test_a_number_below_one_is_refused(recognizer, fake_model, write_clip):
    with pytest.raises(UserError, match="n: 0, give at least 1"):
        suggest([recognizer], [write_clip("a.wav", 0)], 0)
