from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.trivial_baselines import most_frequent, nothing, random, random_probabilities
from perser.episodes.episode import Support
from perser.errors import UserError
from perser.installed_routes import build_method
from perser.labels import EmotionSet, decide
from perser.metrics import score_episode
from perser.personalizer import RouteContext

RATES = {
    "frustrated": 0.243,
    "neutral": 0.215,
    "angry": 0.143,
    "excited": 0.136,
    "sad": 0.118,
    "happy": 0.103,
    "surprise": 0.023,
    "fear": 0.012,
    "disgust": 0.007,
}
"""Mean shares of single votes in IEMOCAP; about 1.03 labels a response."""


@pytest.fixture
def context():
    return RouteContext(EmotionSet(("angry", "happy", "sad")), None, Path(), Path())


SUPPORT = Support(("u1", "u2", "u3"), (("sad",), ("happy", "sad"), ("angry",)), seed=7)


def test_nothing_gives_no_label(context):
    probabilities = nothing(context).personalize(SUPPORT).predict_proba(["a", "b"])
    assert probabilities.dtype == np.float32
    assert not decide(probabilities).any()


def test_most_frequent_gives_the_persons_most_frequent_label(context):
    probabilities = most_frequent(context).personalize(SUPPORT).predict_proba(["a", "b"])
    assert decide(probabilities).tolist() == [[False, False, True]] * 2


def test_random_is_the_same_for_the_same_support(context):
    first, second = (random(context).personalize(SUPPORT).predict_proba(["a", "b"]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first.sum(axis=1), 1, rtol=1e-6)


def test_random_reproduces_the_papers_row_at_its_label_rates():
    """Meta-PerSER, Table 1, seen: 14.6 / 17.4 / 60.7; simulated with these label rates 15.4 / 17.4 / 60.7."""
    rng = np.random.default_rng(0)
    rates = np.array(list(RATES.values())) / sum(RATES.values())
    scores = []
    for episode in range(300):
        targets = np.eye(9)[rng.choice(9, size=128, p=rates)]
        second = rng.random(128) < 0.03
        targets[second] = np.maximum(targets[second], np.eye(9)[rng.choice(9, size=second.sum(), p=rates)])
        scores.append(score_episode(random_probabilities(128, 9, episode).astype(np.float32), targets))
    means = [100 * np.mean([score[name] for score in scores]) for name in ("maF1", "miF1", "label_accuracy")]
    np.testing.assert_allclose(means, [15.4, 17.4, 60.7], atol=1.0)


def test_a_trivial_method_has_no_ablations(context):
    with pytest.raises(UserError, match="random has no model"):
        build_method("random:other", context)
