"""Ordinary classifiers on frozen features: nearest class mean, and logistic regression of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression

from benchmarks.few_shot.draws import Draw

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of scikit-learn's C, the inverse of the regularization's strength, to choose from."""

USUAL_STRENGTH = 1e-2
"""C where there is no other person to choose it on."""


class Features:
    """Standardized features of clips, a row each: (num_clips, D)."""

    def __init__(self, rows: np.ndarray, names: Sequence[str]) -> None:
        self._rows = rows
        self._places = {name: place for place, name in enumerate(names)}

    def of(self, names: Sequence[str]) -> np.ndarray:
        return self._rows[[self._places[name] for name in names]]


def nearest_mean(draw: Draw, features: Features) -> list[str] | None:
    """Return the label whose enrolled clips' mean is nearest to each query; None where nothing is
    enrolled."""
    enrolled = features.of(draw.support.utterances)
    words = np.array([label for (label,) in draw.support.emotions])
    if not len(words):
        return None
    labels = np.unique(words)
    means = np.stack([enrolled[words == label].mean(axis=0) for label in labels])
    return labels[cdist(features.of(draw.queries), means).argmin(axis=1)].tolist()


def logistic_regression(draw: Draw, features: Features, strength: float) -> list[str] | None:
    """Return the answers of a logistic regression; None where nothing is enrolled.

    It is fitted in the space that the enrolled clips span, which gives the same answers: a regularized
    weight has no part outside it. With few clips and thousands of features that is a hundred times as fast.
    """
    words = [label for (label,) in draw.support.emotions]
    if len(set(words)) < 2:
        return words[:1] * len(draw.queries) or None
    enrolled = features.of(draw.support.utterances)
    _, _, basis = np.linalg.svd(enrolled, full_matrices=False)
    model = LogisticRegression(C=strength, max_iter=2000).fit(enrolled @ basis.T, words)
    return list(model.predict(features.of(draw.queries) @ basis.T))


def best_elsewhere(accuracies: Mapping[float, Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """Return each person's accuracies with the strength that is best on average for the others.

    Args:
        accuracies: By strength and person, the accuracy of each draw.
    """
    means = {
        strength: {person: float(np.mean(values)) for person, values in by_person.items()}
        for strength, by_person in accuracies.items()
    }
    chosen = {}
    for person in next(iter(accuracies.values())):
        others = {
            strength: np.mean([value for name, value in by_person.items() if name != person] or [0.0])
            for strength, by_person in means.items()
        }
        best = max(others, key=others.__getitem__) if len(means[USUAL_STRENGTH]) > 1 else USUAL_STRENGTH
        chosen[person] = list(accuracies[best][person])
    return chosen
