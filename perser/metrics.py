"""How an episode is scored, in one place for every method: F1, label accuracy, balanced accuracy,
calibration.

`score_episode` is what the toolkit calls; `PersonalizedSER` is the same as an `evaluate.Metric`, for
pipelines built on Hugging Face evaluate. It works offline, but writes an Arrow table per call.

Decisions are `perser.labels.decide` (p > 1/C, strict) for all methods. Everything is a fraction.

- `maF1`: F1 of each emotion over the episode's queries, averaged over all C emotions; an emotion that
  is neither given nor predicted counts as 0 (zero_division = 0).
- `miF1`: F1 over all Q x C cells pooled.
- `label_accuracy`: share of the Q x C cells that are right (Hamming accuracy; the Meta-PerSER paper's
  "UA"). With nine emotions and one label a row, predicting nothing scores about .89: read it beside
  `balanced_accuracy`.
- `balanced_accuracy`: over the same cells, the mean of the recall of the given labels and the recall of
  the labels not given: .5 for any guess that does not listen.
- `uar`, `wa`: the argmax against the one label: macro recall over the emotions that occur, and accuracy.
  Only where every row has exactly one label.
- `brier`: squared distance of the probabilities to the label distribution, summed over emotions, mean
  over rows: 0 to 2, lower is better.
- `ece`: expected calibration error of the argmax, right if it is among the labels given; 15 equal bins
  of confidence (Guo et al. 2017). Lower is better.
"""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, multilabel_confusion_matrix, recall_score

from perser.labels import decide

ECE_BINS = 15

_CITATION = """@inproceedings{metaperser2025, title={Meta-PerSER: Few-Shot Listener Personalized Speech
Emotion Recognition via Meta-learning}, author={Fang, Shi-Xin and Shen, Liang-Yeh and Lin, Yi-Cheng and Chou,
Huang-Cheng and Lee, Hung-yi}, booktitle={Interspeech}, year={2025}, eprint={2505.16220}}"""


def score_episode(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Score one episode's query: the metrics above by name.

    `probabilities` (Q, C) with rows that sum to 1, `targets` (Q, C) 0/1 with at least one label a row.
    Raises ValueError where either is not so: a method that gives NaN must not pass as a bad score.
    """
    probabilities, labels = _checked(probabilities, targets)
    scores = _cell_scores(labels, decide(probabilities)) | {
        "brier": brier_score(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels),
    }
    if (labels.sum(axis=1) == 1).all():
        label, guess = labels.argmax(axis=1), probabilities.argmax(axis=1)
        scores["uar"] = recall_score(label, guess, labels=np.unique(label), average="macro", zero_division=0)
        scores["wa"] = accuracy_score(label, guess)
    return {name: float(score) for name, score in scores.items()}


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Multi-class Brier score against the label distribution; both (Q, C), `labels` 0/1."""
    distribution = labels / labels.sum(axis=1, keepdims=True)
    return float(((probabilities - distribution) ** 2).sum(axis=1).mean())


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, num_bins: int = ECE_BINS
) -> float:
    """How far the argmax's confidence is from how often it is right, averaged over bins by size."""
    _, confidence, right = confidence_bins(probabilities, labels, num_bins).T
    # |sum right - sum confidence| of a bin is its size times its gap.
    return float(np.abs(right - confidence).sum() / len(labels))


def confidence_bins(probabilities: np.ndarray, labels: np.ndarray, num_bins: int = ECE_BINS) -> np.ndarray:
    """Rows by the argmax's confidence, in equal bins (num_bins, 3): how many there are, the sum of their
    confidences, and how many of their argmaxes are among the labels given; both arguments (Q, C)."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = labels[np.arange(len(labels)), probabilities.argmax(axis=1)]
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    sums = (
        np.bincount(bins, weights=one, minlength=num_bins) for one in (np.ones(len(bins)), confidence, right)
    )
    return np.stack(list(sums), axis=1)


class PersonalizedSER(evaluate.Metric):
    """`score_episode` as an `evaluate.Metric`: `predictions` are probabilities, `references` 0/1 targets.

    One `compute` is one episode. For example
    `PersonalizedSER().compute(predictions=probabilities, references=targets)["maF1"]`.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Macro-F1, micro-F1, label accuracy, balanced accuracy, Brier and ECE of an episode.",
            citation=_CITATION,
            inputs_description="predictions: probabilities (Q, C); references: 0/1 targets (Q, C).",
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float32")),
                    "references": datasets.Sequence(datasets.Value("float32")),
                }
            ),
        )

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        return score_episode(np.asarray(predictions, dtype=np.float32), np.asarray(references))


def _checked(probabilities: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities as float32 and targets as 0/1 integers, or ValueError."""
    probabilities, targets = np.asarray(probabilities, dtype=np.float32), np.asarray(targets)
    if probabilities.shape != targets.shape or probabilities.ndim != 2 or not len(probabilities):
        raise ValueError(
            f"probabilities {probabilities.shape} and targets {targets.shape} must both be (Q, C)"
        )
    # Half-precision models normalize to about 1e-2; a logit or a NaN is caught all the same.
    if not (probabilities >= 0).all() or not np.allclose(probabilities.sum(axis=1), 1, atol=2e-2):
        raise ValueError("probabilities must be finite, not negative, and sum to 1 in every row")
    labels = targets.astype(np.int64)
    if not (np.isin(targets, (0, 1)).all() and labels.any(axis=1).all()):
        raise ValueError("targets must be 0 or 1, with at least one label in every row")
    return probabilities, labels


def _cell_scores(labels: np.ndarray, decisions: np.ndarray) -> dict[str, float]:
    """The metrics of yes/no decisions, from one confusion matrix an emotion; both (Q, C)."""
    counts = multilabel_confusion_matrix(labels, decisions).astype(np.float64)
    (rejected, false), (missed, found) = counts.transpose(1, 2, 0)
    given, not_given = (missed + found).sum(), (rejected + false).sum()
    recalled = found.sum() / given
    return {
        "maF1": _f1(found, false, missed).mean(),
        "miF1": _f1(found.sum(), false.sum(), missed.sum()),
        "label_accuracy": (found + rejected).sum() / labels.size,
        # Where every cell is given there is no negative to recall: it is the recall of the positives.
        "balanced_accuracy": (recalled + rejected.sum() / not_given) / 2 if not_given else recalled,
    }


def _f1(found: np.ndarray, false: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """Of true and false positives and false negatives; 0 where there are none of any."""
    return 2 * found / np.maximum(2 * found + false + missed, 1)
