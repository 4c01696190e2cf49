"""Entire-Sim.: the formula by hand, and emotions that the support lacks."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.distance import cosine
from scipy.special import softmax

from meta_perser.adaptation.similarity import emotion_centers, similarity_probabilities
from perser.installed_routes import build_method
from perser.labels import EmotionSet, decide

EMOTIONS = EmotionSet(("angry", "happy", "neutral", "sad"))
LABELS = (("angry",), ("angry", "sad"), ("sad",), ("happy",))


def test_probabilities_match_the_formula_by_hand():
    rng = np.random.default_rng(0)
    support, query = rng.standard_normal((4, 5)), rng.standard_normal((3, 5))
    targets = torch.as_tensor(EMOTIONS.distribution(LABELS)).double()
    centers = {  # the second utterance has two labels: half of it counts for each
        0: (support[0] + 0.5 * support[1]) / 1.5,
        1: support[3],
        3: (support[2] + 0.5 * support[1]) / 1.5,
    }
    expected = np.zeros((3, 4))
    for row, embedding in zip(expected, query, strict=True):
        row[list(centers)] = softmax([1 - cosine(embedding, center) for center in centers.values()])
    probabilities = similarity_probabilities(
        torch.tensor(query), emotion_centers(torch.tensor(support), targets)
    ).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-12)


def test_an_emotion_that_the_support_lacks_is_never_predicted(trained, toy_episodes):
    episode = toy_episodes.episodes[0]
    support = episode.support
    without = support.ordered([i for i, labels in enumerate(support.emotions) if "sad" not in labels])
    assert 0 < len(without) < len(support)
    method = build_method("entire-sim", trained)
    probabilities = method.personalize(without).predict_proba(episode.query_utterances)
    missing = [
        i
        for i, name in enumerate(trained.emotions.names)
        if all(name not in labels for labels in without.emotions)
    ]
    assert "sad" in [trained.emotions.names[i] for i in missing]
    assert not probabilities[:, missing].any()
    assert not decide(probabilities)[:, missing].any()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_an_embedding_like_an_emotions_examples_gets_that_emotion():
    embedded = torch.eye(4)
    centers = emotion_centers(embedded, torch.eye(4))
    assert (
        decide(similarity_probabilities(3 * embedded, centers).numpy()).tolist()
        == np.eye(4, dtype=bool).tolist()
    )
