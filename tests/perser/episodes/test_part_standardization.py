"""Features standardized by each corpus that was joined."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from perser.encoders.feature_cache import FeatureStore
from perser.episodes.episode import Task
from perser.episodes.part_standardization import standardized_by_part

SHIFT = {"north": 0.0, "south": 5.0}


@pytest.fixture
def corpus():
    """Two corpora of twenty clips, of which the first fifteen of each are trained on."""
    rng = np.random.default_rng(0)
    features = {
        f"{part}/{number}": (shift + (1 + shift) * rng.normal(size=(3, 4))).astype(np.float32)
        for part, shift in SHIFT.items()
        for number in range(20)
    }
    joined = SimpleNamespace(
        name="north+south", parts=[SimpleNamespace(name=name) for name in SHIFT], utterances=dict(features)
    )
    return joined, features


def tasks(count=15):
    names = [tuple(f"{part}/{number}" for number in range(count)) for part in SHIFT]
    return [Task(own[0], own, tuple(("angry",) for _ in own)) for own in names]


def test_training_clips_of_each_corpus_get_the_same_mean_and_deviation(corpus):
    joined, features = corpus
    store = standardized_by_part(FeatureStore.of("pooled", features), joined, tasks())
    moments = []
    for part in SHIFT:
        own = store.stack([f"{part}/{number}" for number in range(15)]).double().numpy()
        moments.append((own.mean(axis=0), own.std(axis=0)))
    for one, other in zip(*moments, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    raw = [np.stack([features[f"{part}/{number}"] for number in range(15)]) for part in SHIFT]
    np.testing.assert_allclose(moments[0][0], np.mean([own.mean(axis=0) for own in raw], axis=0), rtol=1e-4)


def test_clips_that_are_not_trained_on_are_mapped_as_their_corpus_is_and_change_nothing(corpus):
    joined, features = corpus
    store = standardized_by_part(FeatureStore.of("pooled", features), joined, tasks())
    both = [
        np.stack([features[f"{part}/{number}"] for number in range(15)]).astype(np.float64) for part in SHIFT
    ]
    mean, spread = (
        np.mean([find(own) for own in both], axis=0)
        for find in (lambda own: own.mean(axis=0), lambda own: own.std(axis=0))
    )
    south = both[1]
    expected = (features["south/17"] - south.mean(axis=0)) / south.std(axis=0) * spread + mean
    np.testing.assert_allclose(store["south/17"].numpy(), expected, rtol=1e-4, atol=1e-4)


def test_clips_of_a_corpus_of_which_nothing_is_trained_on_stay_as_they_are(corpus):
    """All persons of a small corpus can be drawn for validation and test."""
    joined, features = corpus
    store = standardized_by_part(FeatureStore.of("pooled", features), joined, tasks()[:1])
    np.testing.assert_array_equal(store["south/3"].numpy(), features["south/3"])
    np.testing.assert_allclose(store["north/3"].numpy(), features["north/3"], rtol=1e-4, atol=1e-4)


def test_a_corpus_that_was_not_joined_stays_as_it_is(corpus):
    joined, features = corpus
    joined.parts = []
    store = standardized_by_part(FeatureStore.of("pooled", features), joined, tasks())
    np.testing.assert_allclose(store["south/3"].numpy(), features["south/3"], rtol=1e-4, atol=1e-4)
