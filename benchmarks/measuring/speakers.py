"""Say how much each speaker's utterances contribute to an episode's metrics, for the pigeonhole bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from perser.labels import decide
from perser.metrics import cell_counts, cell_scores, log_losses

DIGITS = 7
"""Decimals of a contribution; a scores file has thousands."""


def speaker_contributions(
    probabilities: np.ndarray, labels: np.ndarray, speakers: Sequence[str], calibration_gaps: np.ndarray
) -> dict[str, dict[str, float]]:
    """Return, by metric and speaker, how fast the metric grows with the weight of the speaker's utterances.

    For the F1s and balanced accuracy this is computed by leaving the speaker out; for the other metrics it is
    exact. A speaker who said everything contributes nothing.

    Args:
        probabilities: (Q, C).
        labels: 0/1, (Q, C).
        speakers: who said each utterance, (Q,).
        calibration_gaps: what each row adds to the calibration error, (Q,); see `perser.metrics.signed_gaps`.
    """
    rows = _growth_with_rows(probabilities.astype(np.float64), labels, calibration_gaps)
    names, own = _speakers(speakers)
    slopes = {metric: own @ growth for metric, growth in rows.items()}
    return _named(names, slopes) | decision_contributions(labels, decide(probabilities), speakers)


def decision_contributions(
    labels: np.ndarray, decisions: np.ndarray, speakers: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return the same for the metrics of yes/no decisions, (Q, C)."""
    names, own = _speakers(speakers)
    total = cell_counts(labels, decisions)
    of_speakers = [cell_counts(labels[rows > 0], decisions[rows > 0]) for rows in own]
    without = [
        all_rows - np.stack(part)
        for all_rows, part in zip(total, zip(*of_speakers, strict=True), strict=True)
    ]
    left_out, overall = cell_scores(*without), cell_scores(*total)
    share = own.mean(axis=1)
    return _named(names, {name: (overall[name] - left_out[name]) * (1 - share) for name in overall})


def _speakers(speakers: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the names, and which rows are whose: 0/1, (speakers, Q)."""
    names, of_row = np.unique(np.asarray(speakers), return_inverse=True)
    return names.tolist(), np.eye(len(names))[of_row].T


def _named(names: Sequence[str], slopes: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    return {
        metric: dict(zip(names, np.round(values, DIGITS).tolist(), strict=True))
        for metric, values in slopes.items()
    }


def _growth_with_rows(
    probabilities: np.ndarray, labels: np.ndarray, calibration_gaps: np.ndarray
) -> dict[str, np.ndarray]:
    """Return how fast each metric grows with the weight of each row, (Q,); these sum to 0."""
    distribution = labels / labels.sum(axis=1, keepdims=True)
    means = {
        "log_loss": log_losses(probabilities, labels),
        "brier": ((probabilities - distribution) ** 2).sum(axis=1),
        "ece": calibration_gaps,
    }
    growth = {}
    if (labels.sum(axis=1) == 1).all():
        right = labels[np.arange(len(labels)), probabilities.argmax(axis=1)].astype(np.float64)
        means["wa"] = right
        growth["uar"] = _recall_growth(right, labels)
    growth |= {metric: (values - values.mean()) / len(values) for metric, values in means.items()}
    occurs = labels.any(axis=0)
    if (ranked := occurs & ~labels.all(axis=0)).any():
        growth["auroc"] = _auroc_growth(probabilities[:, ranked], labels[:, ranked])
    growth["average_precision"] = _average_precision_growth(probabilities[:, occurs], labels[:, occurs])
    return growth


def _recall_growth(right: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the growth of the recall of the emotions that occur, averaged over them, (Q,)."""
    own = labels[:, labels.any(axis=0)]
    recall = right @ own / own.sum(axis=0)
    return (own * (right[:, None] - recall) / own.sum(axis=0)).mean(axis=1)


def _auroc_growth(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the growth of the AUROC, averaged over the columns, (Q,).

    With weights it is the weighted share of the pairs of a given and a not-given label that are in order.
    """
    difference = probabilities[:, None] - probabilities
    above = (np.sign(difference) + 1) / 2  # 1/2 for ties, (Q, Q, C)
    given, not_given = labels, 1 - labels
    # Of each given label the share of the others that it is above, and the reverse.
    in_order = given * np.einsum("ijc,jc->ic", above, not_given) / not_given.sum(axis=0)
    in_order = in_order + not_given * np.einsum("ijc,ic->jc", above, given) / given.sum(axis=0)
    auroc = (given * in_order).sum(axis=0) / given.sum(axis=0)
    sizes = given * given.sum(axis=0) + not_given * not_given.sum(axis=0)
    return ((in_order - auroc) / sizes).mean(axis=1)


def _average_precision_growth(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the growth of average precision, averaged over the columns, (Q,).

    With weights it is the weighted mean over the given labels of the weighted precision at their probability.
    """
    at_least = (probabilities[:, None] >= probabilities).astype(np.float64)  # (row, threshold, C)
    named = at_least.sum(axis=0)
    precision = np.einsum("kic,kc->ic", at_least, labels) / named
    positives = labels.sum(axis=0)
    mean = (labels * precision).sum(axis=0) / positives
    through_precision = labels * np.einsum("kic,ic->kc", at_least, labels / named)
    through_precision -= np.einsum("kic,ic->kc", at_least, labels * precision / named)
    return ((labels * (precision - mean) + through_precision) / positives).mean(axis=1)
