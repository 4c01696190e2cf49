"""Choose each emotion's threshold on validation persons, and score the decisions that it gives.

The papers decide at p > 1/C, which favors methods whose probabilities happen to lie well around it. With
thresholds of its own a method is judged by how it orders the answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import precision_recall_curve

from perser.metrics import cell_counts, cell_scores

TUNED = "maF1_tuned"
"""The name of macro-F1 at these thresholds."""


def choose_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> list[float]:
    """Return for each emotion the threshold with the highest F1 over all rows, from which on it is given.

    Both arguments are (N, C). An emotion that no row has gets 1/C.
    """
    chosen = []
    for column, given in zip(probabilities.T, labels.T, strict=True):
        if not given.any():
            chosen.append(1 / labels.shape[1])
            continue
        precision, recall, thresholds = precision_recall_curve(given, column)
        f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
        chosen.append(float(thresholds[f1[:-1].argmax()]))
    return chosen


def decide_at(probabilities: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Return which emotions are given at these thresholds, bool (N, C)."""
    return probabilities >= np.asarray(thresholds, dtype=probabilities.dtype)


def macro_f1(labels: np.ndarray, decisions: np.ndarray) -> float:
    """Return macro-F1 of decisions; see `perser.metrics`."""
    return float(cell_scores(*cell_counts(labels, decisions))["maF1"])
