"""Score an episode: F1, label accuracy, balanced accuracy and calibration, the same for every method.

The toolkit calls `score_episode`. `PersonalizedSER` computes the same as an `evaluate.Metric`, for pipelines
built on Hugging Face evaluate. It works offline, but writes an Arrow table per call.

Decisions are `perser.labels.decide` (p > 1/C, strict) for all methods. All metrics are fractions.

- `maF1`: F1 of each emotion over the episode's queries, averaged over all C emotions. An emotion that is
  neither given nor predicted counts as 0 (zero_division = 0).
- `miF1`: F1 over all Q x C cells together.
- `label_accuracy`: share of the Q x C cells that are right (Hamming accuracy; "UA" in the Meta-PerSER paper).
  With nine emotions and one label per row, predicting nothing scores about .89, so read it with
  `balanced_accuracy`.
- `balanced_accuracy`: over the same cells, the mean of the recall of given labels and the recall of labels
  not given. It is .5 for any guess that does not depend on the audio.
- `uar`, `wa`: macro recall over the emotions that occur, and accuracy, of the argmax. Only if every row has
  exactly one label.
- `brier`: squared distance between probabilities and label distribution, summed over emotions, mean over
  rows: 0 to 2, lower is better.
- `ece`: expected calibration error of the argmax, which is right if it is among the labels given; 15 equal
  bins of confidence (Guo et al. 2017). Lower is better.
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
    """Return the metrics above for one episode's query, by name.

    `probabilities` is (Q, C) with rows that sum to 1, `targets` is (Q, C), 0/1, with at least one label per
    row. Raises ValueError otherwise, so that a method which gives NaN is not taken for one with a bad score.
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
    """Return the multi-class Brier score against the label distribution. Both are (Q, C), `labels` 0/1."""
    distribution = labels / labels.sum(axis=1, keepdims=True)
    return float(((probabilities - distribution) ** 2).sum(axis=1).mean())


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, num_bins: int = ECE_BINS
) -> float:
    """Return the gap between the argmax's confidence and its accuracy, averaged over bins by their size."""
    _, confidence, right = confidence_bins(probabilities, labels, num_bins).T
    # |sum right - sum confidence| of a bin is the bin's size times its gap.
    return float(np.abs(right - confidence).sum() / len(labels))


def confidence_bins(probabilities: np.ndarray, labels: np.ndarray, num_bins: int = ECE_BINS) -> np.ndarray:
    """Count rows by the confidence of their argmax, in equal bins: (num_bins, 3).

    The columns are the number of rows, the sum of their confidences, and how many of their argmaxes are among
    the labels given. Both arguments are (Q, C).
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = labels[np.arange(len(labels)), probabilities.argmax(axis=1)]
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    columns = (np.ones(len(bins)), confidence, right)
    return np.stack([np.bincount(bins, weights=column, minlength=num_bins) for column in columns], axis=1)


class PersonalizedSER(evaluate.Metric):
    """`score_episode` as an `evaluate.Metric`: `predictions` are probabilities, `references` are 0/1 targets.

    One call of `compute` scores one episode:
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
    """Return probabilities as float32 and targets as 0/1 integers. Raises ValueError for invalid ones."""
    probabilities, targets = np.asarray(probabilities, dtype=np.float32), np.asarray(targets)
    if probabilities.shape != targets.shape or probabilities.ndim != 2 or not len(probabilities):
        raise ValueError(
            f"probabilities {probabilities.shape} and targets {targets.shape} must both be (Q, C)"
        )
    # Rows of half-precision models sum to 1 within about 1e-2. Logits and NaN are still caught.
    if not (probabilities >= 0).all() or not np.allclose(probabilities.sum(axis=1), 1, atol=2e-2):
        raise ValueError("probabilities must be finite, not negative, and sum to 1 in every row")
    labels = targets.astype(np.int64)
    if not (np.isin(targets, (0, 1)).all() and labels.any(axis=1).all()):
        raise ValueError("targets must be 0 or 1, with at least one label in every row")
    return probabilities, labels


def _cell_scores(labels: np.ndarray, decisions: np.ndarray) -> dict[str, float]:
    """Return the metrics of yes/no decisions, from one confusion matrix per emotion. Both are (Q, C)."""
    counts = multilabel_confusion_matrix(labels, decisions).astype(np.float64)
    (tn, fp), (fn, tp) = counts.transpose(1, 2, 0)
    positives, negatives = (fn + tp).sum(), (tn + fp).sum()
    recall = tp.sum() / positives
    return {
        "maF1": _f1(tp, fp, fn).mean(),
        "miF1": _f1(tp.sum(), fp.sum(), fn.sum()),
        "label_accuracy": (tp + tn).sum() / labels.size,
        # If every label is given there are no negatives, and the recall of the positives is all there is.
        "balanced_accuracy": (recall + tn.sum() / negatives) / 2 if negatives else recall,
    }


def _f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """Return F1 from true positives, false positives and false negatives; 0 if all are 0."""
    return 2 * tp / np.maximum(2 * tp + fp + fn, 1)
