"""Agreement: Krippendorff's alpha, pairs of listeners, and each listener with the others' consensus.

Answers are sets of emotions. Two answers are as far apart as their MASI distance (Passonneau 2006), which is
0 or 1 (nominal) where all answers are single emotions:

    1 - |A and B| / |A or B| * m,  m = 1 for equal sets, 2/3 for a subset, 1/3 for an overlap, 0 else
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from benchmarks.ceiling.answers import Answers
from benchmarks.ceiling.intervals import mean_over_utterances, utterance_interval

ROWS_AT_ONCE = 10_000


def masi_distances(sets: np.ndarray) -> np.ndarray:
    """Return the MASI distance between all pairs of label sets, bool (num_sets, C): (num_sets, num_sets)."""
    counts = sets.astype(float)
    both = counts @ counts.T
    sizes = counts.sum(axis=1)
    smaller = np.minimum(sizes, sizes[:, None])
    either = sizes + sizes[:, None] - both
    monotonicity = np.select([both == either, both == smaller, both > 0], [1.0, 2 / 3, 1 / 3], default=0.0)
    return 1 - both / either * monotonicity


def measure_agreement(answers: Answers) -> dict[str, Any]:
    """Return `distance`, `alpha`, `pairwise` and `agreement_with_others` of ceiling.json."""
    sets, which = np.unique(answers.labels, axis=0, return_inverse=True)
    counts = sparse.csr_array(
        (np.ones(len(which)), (answers.utterance, which.ravel())), shape=(answers.num_utterances, len(sets))
    )
    distances = masi_distances(sets)
    sizes = counts.sum(axis=1)
    disagreement = _disagreement(counts, distances)

    def alpha(times: np.ndarray) -> np.ndarray:
        return krippendorff_alpha(counts, disagreement, distances, times)

    return {
        "distance": "MASI" if answers.is_multi_label else "nominal",
        "alpha": utterance_interval(alpha, len(sizes)).as_json(),
        "pairwise": mean_over_utterances(1 - disagreement / (sizes * (sizes - 1))).as_json(),
        "agreement_with_others": _agreement_with_others(answers),
    }


def nominal_alpha(votes: np.ndarray) -> float:
    """Return Krippendorff's alpha of single answers, from the votes on each utterance (num_utterances, C)."""
    counts = sparse.csr_array(votes[votes.sum(axis=1) > 1])
    distances = 1 - np.eye(votes.shape[1])
    times = np.ones((1, counts.shape[0]))
    return float(krippendorff_alpha(counts, _disagreement(counts, distances), distances, times)[0])


def krippendorff_alpha(
    counts: sparse.csr_array, disagreement: np.ndarray, distances: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Return Krippendorff's alpha of resamples, (resamples,); nan where all answers are equal.

    Args:
        counts: how often each answer was given to each utterance (num_utterances, answers), two or more each.
        disagreement: see `_disagreement`.
        distances: between answers (answers, answers).
        times: how often each utterance counts in each resample (resamples, num_utterances).
    """
    totals = (counts.T @ times.T).T  # (resamples, answers)
    expected = np.einsum("rs,rs->r", totals @ distances, totals)
    observed = times @ (disagreement / (counts.sum(axis=1) - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - (totals.sum(axis=1) - 1) * observed / expected


def _disagreement(counts: sparse.csr_array, distances: np.ndarray) -> np.ndarray:
    """Return the distances of all ordered pairs of answers to each utterance, summed (num_utterances,)."""
    parts = (counts[start : start + ROWS_AT_ONCE] for start in range(0, counts.shape[0], ROWS_AT_ONCE))
    return np.concatenate([np.einsum("us,us->u", part @ distances, part.toarray()) for part in parts])


def _agreement_with_others(answers: Answers) -> dict[str, Any]:
    """Return how often listeners agree with the emotion that the others gave most (leave-one-out consensus).

    If the others gave several emotions equally often, the answer agrees with a share of them. The standard
    deviation between listeners is also given without what chance adds to it. What needs to know who
    answered is None where that is not known.
    """
    others = answers.votes[answers.utterance] - answers.distributions
    most = others >= others.max(axis=1, keepdims=True) - 1e-9
    agrees = (most & answers.labels).sum(axis=1) / most.sum(axis=1)
    sizes = np.bincount(answers.utterance)
    by_utterance = np.bincount(answers.utterance, weights=agrees)

    def pooled(times: np.ndarray) -> np.ndarray:
        return times @ by_utterance / (times @ sizes)

    content = {
        "mean": utterance_interval(pooled, len(sizes)).as_json(),
        "by_listener": None,
        "deviation": None,
        "true_deviation": None,
    }
    number = np.bincount(answers.listener, minlength=len(answers.listeners))
    known = answers.is_known & (number > 0)
    if known.sum() < 2:
        return content
    own = np.bincount(answers.listener, weights=agrees, minlength=len(number))[known] / number[known]
    squares = np.bincount(answers.listener, weights=agrees**2, minlength=len(number))[known] / number[known]
    chance = (squares - own**2) / np.maximum(number[known] - 1, 1)
    names = [name for name, is_known in zip(answers.listeners, known, strict=True) if is_known]
    return content | {
        "by_listener": dict(zip(names, own.round(6).tolist(), strict=True)),
        "deviation": float(own.std(ddof=1)),
        "true_deviation": float(np.sqrt(max(own.var(ddof=1) - chance.mean(), 0.0))),
    }
