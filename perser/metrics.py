"""Score an episode: log loss, ranking, F1, label accuracy and calibration, the same for every method.

The toolkit calls `score_episode`. `PersonalizedSER` computes the same as an `evaluate.Metric`, for pipelines
built on Hugging Face evaluate. It works offline, but writes an Arrow table per call.

Log loss is the headline. AUROC and average precision need no threshold either. The other decisions are
`perser.labels.decide` (p > 1/C, strict) for all methods, as in the papers. All metrics are fractions, except
the log loss.

- `log_loss`: nats an answer, lower is better: the cross-entropy between the label distribution (several
  labels share a row evenly) and the probabilities, mean over rows. Probabilities are clipped as in
  scikit-learn, so a label that was called impossible costs 36 nats.
- `auroc`: area under the ROC curve of each emotion against the rest, averaged over the emotions that some
  rows have and others lack. An episode without any such emotion has no AUROC.
- `average_precision`: area under the precision-recall curve of each emotion (without interpolation),
  averaged over the emotions that occur.
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
- `ece`: expected calibration error of the argmax, which is right by its share of the label distribution (1 if
  it is the only label given, 1/2 if it is one of two), in 15 equal bins of confidence (Guo et al. 2017),
  without the bias of a small sample: see `cross_fitted_errors`. It is 0 on average for probabilities that are
  right, so one episode's may be negative. Lower is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import accuracy_score, recall_score

from perser.labels import decide

ECE_BINS = 15

SPLITS = 32
"""How many times the utterances are divided into halves for a calibration error."""

_CITATION = """@inproceedings{metaperser2025, title={Meta-PerSER: Few-Shot Listener Personalized Speech
Emotion Recognition via Meta-learning}, author={Fang, Shi-Xin and Shen, Liang-Yeh and Lin, Yi-Cheng and Chou,
Huang-Cheng and Lee, Hung-yi}, booktitle={Interspeech}, year={2025}, eprint={2505.16220}}"""


def score_episode(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return the metrics above for one episode's query, by name.

    `probabilities` is (Q, C) with rows that sum to 1, `targets` is (Q, C), 0/1, with at least one label per
    row. Raises ValueError otherwise, so that a method which gives NaN is not taken for one with a bad score.
    """
    probabilities, labels = _checked(probabilities, targets)
    scores = {"log_loss": log_losses(probabilities, labels).mean()}
    if (ranked := (labels.any(axis=0) & ~labels.all(axis=0))).any():
        scores["auroc"] = _auroc(probabilities[:, ranked], labels[:, ranked]).mean()
    scores["average_precision"] = np.mean(
        [_average_precision(*pair) for pair in zip(probabilities.T, labels.T, strict=True) if pair[1].any()]
    )
    scores |= cell_scores(*cell_counts(labels, decide(probabilities)))
    rows = np.arange(len(labels))
    scores |= {
        "brier": brier_score(probabilities, labels),
        "ece": cross_fitted_errors(probabilities, labels, np.zeros_like(rows), rows.tolist())[0],
    }
    if (labels.sum(axis=1) == 1).all():
        label, guess = labels.argmax(axis=1), probabilities.argmax(axis=1)
        scores["uar"] = recall_score(label, guess, labels=np.unique(label), average="macro", zero_division=0)
        scores["wa"] = accuracy_score(label, guess)
    return {name: float(score) for name, score in scores.items()}


def log_losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each row's cross-entropy with its label distribution, in nats. Both are (Q, C), `labels` 0/1."""
    probabilities = probabilities.astype(np.float64)
    smallest = np.finfo(np.float64).eps
    distribution = labels / labels.sum(axis=1, keepdims=True)
    return -(distribution * np.log(probabilities.clip(smallest, 1 - smallest))).sum(axis=1)


def cell_counts(labels: np.ndarray, decisions: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return true positives, false positives, false negatives and true negatives, each (C,)."""
    labels, decisions = labels.astype(bool), decisions.astype(bool)
    cells = (labels & decisions, ~labels & decisions, labels & ~decisions, ~labels & ~decisions)
    return tuple(cell.sum(axis=0).astype(np.float64) for cell in cells)


def cell_scores(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> dict[str, np.ndarray]:
    """Return the metrics of yes/no decisions from counts (..., C); each metric is (...)."""
    pooled_tp, pooled_fp, pooled_fn, pooled_tn = (count.sum(axis=-1) for count in (tp, fp, fn, tn))
    positives, negatives = pooled_fn + pooled_tp, pooled_tn + pooled_fp
    recall = pooled_tp / np.maximum(positives, 1)
    return {
        "maF1": _f1(tp, fp, fn).mean(axis=-1),
        "miF1": _f1(pooled_tp, pooled_fp, pooled_fn),
        "label_accuracy": (pooled_tp + pooled_tn) / np.maximum(positives + negatives, 1),
        # If every label is given there are no negatives, and the recall of the positives is all there is.
        "balanced_accuracy": np.where(
            negatives > 0, (recall + pooled_tn / np.maximum(negatives, 1)) / 2, recall
        ),
    }


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the multi-class Brier score against the label distribution. Both are (Q, C), `labels` 0/1."""
    distribution = labels / labels.sum(axis=1, keepdims=True)
    return float(((probabilities - distribution) ** 2).sum(axis=1).mean())


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, num_bins: int = ECE_BINS
) -> float:
    """Return the gap between the argmax's confidence and its accuracy, averaged over bins by their size.

    It is biased: probabilities that are right have about .14 on 64 rows. `cross_fitted_errors` is not.
    """
    _, confidence, right = confidence_bins(probabilities, labels, num_bins).T
    # |sum right - sum confidence| of a bin is the bin's size times its gap.
    return float(np.abs(right - confidence).sum() / len(labels))


def confidence_bins(probabilities: np.ndarray, labels: np.ndarray, num_bins: int = ECE_BINS) -> np.ndarray:
    """Count rows by the confidence of their argmax, in equal bins: (num_bins, 3).

    The columns are the number of rows, the sum of their confidences, and the sum of their argmaxes' shares of
    the label distribution. Both arguments are (Q, C).
    """
    confidence, right, bins = _confidences(probabilities, labels, num_bins)
    columns = (np.ones(len(bins)), confidence, right)
    return np.stack([np.bincount(bins, weights=column, minlength=num_bins) for column in columns], axis=1)


def cross_fitted_errors(
    probabilities: np.ndarray, labels: np.ndarray, episodes: np.ndarray, utterances: Sequence[str | int]
) -> np.ndarray:
    """Return the part of each episode in the calibration error of all rows pooled, (num_episodes,).

    The mean of the parts, weighted by the episodes' rows, is the calibration error; see `signed_gaps`.

    Args:
        probabilities: (N, C).
        labels: 0/1, (N, C).
        episodes: the number of each row's episode, from 0, (N,).
        utterances: what each row is about, (N,).
    """
    gaps = signed_gaps(probabilities, labels, utterances)
    return np.bincount(episodes, weights=gaps) / np.bincount(episodes)


def signed_gaps(probabilities: np.ndarray, labels: np.ndarray, utterances: Sequence[str | int]) -> np.ndarray:
    """Return what each row adds to the calibration error of all rows, which is their mean, (N,).

    Whether a bin is too sure or not sure enough is decided by the other half of the utterances, averaged over
    SPLITS random halves. The plain error takes the size of each bin's gap, so that chance always adds to it;
    here chance adds as much as it subtracts. Rows of one utterance are always in the same half.
    """
    confidence, right, bins = _confidences(probabilities, labels, ECE_BINS)
    gaps = right - confidence
    names, utterance = np.unique(np.asarray(utterances), return_inverse=True)
    signs = np.zeros(len(gaps))
    for halves in np.random.default_rng(0).integers(2, size=(SPLITS, len(names)))[:, utterance]:
        of_half = [np.bincount(bins, weights=gaps * (halves == half), minlength=ECE_BINS) for half in (0, 1)]
        signs += np.sign(np.stack(of_half))[1 - halves, bins]
    return gaps * signs / SPLITS


class PersonalizedSER(evaluate.Metric):
    """`score_episode` as an `evaluate.Metric`: `predictions` are probabilities, `references` are 0/1 targets.

    One call of `compute` scores one episode:
    `PersonalizedSER().compute(predictions=probabilities, references=targets)["maF1"]`.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Log loss, AUROC, F1, label accuracy, Brier and ECE of an episode.",
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


def _confidences(
    probabilities: np.ndarray, labels: np.ndarray, num_bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return by row the argmax's confidence, its share of the label distribution, and its bin.

    Whether it is among the labels would not do: probabilities sum to 1, so those of the label distribution
    itself would look too low wherever people give several labels.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = labels[np.arange(len(labels)), probabilities.argmax(axis=1)] / labels.sum(axis=1)
    return confidence, right, np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)


def _auroc(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the area under each column's ROC curve (the Mann-Whitney U statistic, ties count half)."""
    positives = labels.sum(axis=0)
    ranks = (rankdata(probabilities, axis=0) * labels).sum(axis=0)
    return (ranks - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))


def _average_precision(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over the given labels of the precision at their probability; both are (Q,)."""
    # scikit-learn gives the same, but takes as long as all other metrics together.
    order = np.argsort(-probabilities, kind="stable")
    ranked, given = probabilities[order], labels[order].astype(np.float64)
    last_of_ties = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    found = given.cumsum()[last_of_ties]
    return float((np.diff(found, prepend=0) * found / (last_of_ties + 1)).sum() / found[-1])


def _f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """Return F1 from true positives, false positives and false negatives; 0 if all are 0."""
    return 2 * tp / np.maximum(2 * tp + fp + fn, 1)
