import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    hamming_loss,
    log_loss,
    roc_auc_score,
)

from perser.metrics import (
    PersonalizedSER,
    cross_fitted_errors,
    expected_calibration_error,
    score_episode,
)

IEMOCAP_RATES = np.array([0.243, 0.215, 0.143, 0.136, 0.118, 0.103, 0.023, 0.012, 0.007])
LABELS_PER_RESPONSE = 1.03
METRICS = ("maF1", "miF1", "label_accuracy", "balanced_accuracy")


def softmax(logits):
    exponentials = np.exp(logits)
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)


def responses(count, rng):
    """Draw label sets at IEMOCAP's rates: one label, sometimes two."""
    targets = np.zeros((count, len(IEMOCAP_RATES)), dtype=np.float32)
    for row in targets:
        number = 1 + (rng.random() < LABELS_PER_RESPONSE - 1)
        row[rng.choice(len(row), size=number, replace=False, p=IEMOCAP_RATES / IEMOCAP_RATES.sum())] = 1
    return targets


@st.composite
def episodes(draw, single=False):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 12)), draw(st.integers(2, 6)))
    targets = np.zeros(shape, dtype=np.float32)
    targets[np.arange(shape[0]), rng.integers(shape[1], size=shape[0])] = 1
    if not single:
        targets = np.maximum(targets, rng.random(shape) < draw(st.sampled_from([0.1, 0.5, 1.0])))
    return softmax(rng.normal(size=shape)), targets.astype(np.float32)


def naive_scores(probabilities, targets):
    """Compute the definitions cell by cell."""
    num_rows, num_classes = targets.shape
    counts = np.zeros((num_classes, 4))  # true positive, false positive, false negative, true negative
    for q in range(num_rows):
        for c in range(num_classes):
            given_, predicted = (
                targets[q, c] == 1,
                probabilities[q, c] > np.float32(1) / np.float32(num_classes),
            )
            counts[c, {(1, 1): 0, (0, 1): 1, (1, 0): 2, (0, 0): 3}[int(given_), int(predicted)]] += 1

    def f1(tp, fp, fn, _):
        return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0

    tp, fp, fn, tn = counts.sum(axis=0)
    recalls = [tp / (tp + fn)] + ([tn / (tn + fp)] if tn + fp else [])
    return {
        "maF1": np.mean([f1(*row) for row in counts]),
        "miF1": f1(tp, fp, fn, tn),
        "label_accuracy": (tp + tn) / targets.size,
        "balanced_accuracy": np.mean(recalls),
    }


@settings(deadline=None, max_examples=40)
@given(episodes())
def test_scores_equal_a_naive_loop(episode):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score_episode(*episode)
    expected = naive_scores(*episode)
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    limits = {"brier": (0, 2), "log_loss": (0, 37), "ece": (-1, 1)}
    for name, value in scores.items():
        low, high = limits.get(name, (0, 1))
        assert low <= value <= high


@settings(deadline=None, max_examples=30)
@given(episodes(single=True))
def test_single_label_scores_equal_their_definitions(episode):
    probabilities, targets = episode
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score_episode(probabilities, targets)
    label, guess = targets.argmax(axis=1), probabilities.argmax(axis=1)
    assert scores["wa"] == pytest.approx(np.mean(label == guess))
    recalls = [np.mean(guess[label == emotion] == emotion) for emotion in sorted(set(label))]
    assert scores["uar"] == pytest.approx(np.mean(recalls))
    classes = list(range(targets.shape[1]))
    if len(classes) > 2:  # scikit-learn halves the two-class score and wants the second column alone
        oracle = brier_score_loss(label, probabilities, labels=classes, scale_by_half=False)
        assert scores["brier"] == pytest.approx(oracle, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(episodes(), st.booleans())
def test_log_loss_auroc_and_average_precision_agree_with_scikit_learn(episode, coarse):
    """Also with ties, and with probabilities of zero; several labels are several weighted rows."""
    probabilities, targets = episode
    if coarse:
        probabilities = np.round(4 * probabilities) / 4 + np.float32(1e-3)
        probabilities[:, 0] = 0
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    scores, labels = score_episode(probabilities, targets), targets.astype(int)
    rows, given_labels = labels.nonzero()
    expected = log_loss(
        given_labels,
        probabilities[rows].astype(np.float64),
        sample_weight=1 / labels.sum(axis=1)[rows],
        labels=range(labels.shape[1]),
    )
    assert scores["log_loss"] == pytest.approx(expected, abs=1e-9)
    columns = range(labels.shape[1])
    ranked = [c for c in columns if 0 < labels[:, c].sum() < len(labels)]
    assert ("auroc" in scores) == bool(ranked)
    if ranked:
        areas = [roc_auc_score(labels[:, c], probabilities[:, c]) for c in ranked]
        assert scores["auroc"] == pytest.approx(np.mean(areas), abs=1e-9)
    precisions = [
        average_precision_score(labels[:, c], probabilities[:, c]) for c in columns if labels[:, c].any()
    ]
    assert scores["average_precision"] == pytest.approx(np.mean(precisions), abs=1e-9)


def test_single_label_scores_need_single_labels():
    targets = np.array([[1, 1, 0], [0, 0, 1]])
    assert not {"uar", "wa"} & score_episode(softmax(np.eye(2, 3)), targets).keys()


@settings(deadline=None, max_examples=5)
@given(episodes())
def test_the_evaluate_metric_agrees_in_one_call_and_in_batches(episode):
    probabilities, targets = episode
    metric = PersonalizedSER(keep_in_memory=True)
    assert metric.compute(predictions=probabilities, references=targets) == score_episode(*episode)
    for row in range(len(targets)):
        metric.add_batch(predictions=probabilities[row : row + 1], references=targets[row : row + 1])
    assert metric.compute() == score_episode(*episode)


def test_random_answers_score_as_in_the_row_random_of_the_paper():
    rng = np.random.default_rng(0)
    scores = [
        score_episode(softmax(0.9 * rng.normal(size=(128, 9))), responses(128, rng)) for _ in range(100)
    ]
    means = {name: np.mean([score[name] for score in scores]) for name in METRICS}
    assert 100 * means["maF1"] == pytest.approx(15.4, abs=1)
    assert 100 * means["miF1"] == pytest.approx(17.4, abs=1)
    assert 100 * means["label_accuracy"] == pytest.approx(60.7, abs=1)
    assert 100 * means["balanced_accuracy"] == pytest.approx(50, abs=1)


def test_predicting_nothing_scores_high_on_label_accuracy_alone():
    targets = responses(2000, np.random.default_rng(1))
    scores = score_episode(np.full(targets.shape, 1 / 9, dtype=np.float32), targets)
    assert 100 * scores["label_accuracy"] == pytest.approx(88.6, abs=0.3)
    assert (scores["maF1"], scores["miF1"], scores["balanced_accuracy"]) == (0, 0, 0.5)


def test_an_absent_emotion_counts_as_zero_in_macro_f1():
    targets = np.eye(4)[[0, 1, 0, 1]]
    perfect = np.where(targets == 1, 0.91, 0.03).astype(np.float32)
    scores = score_episode(perfect, targets)
    assert scores["maF1"] == 0.5
    assert scores["miF1"] == scores["uar"] == 1
    assert f1_score(targets, targets, average="macro", zero_division=1) == 1  # the policy we did not take
    assert scores["label_accuracy"] == 1 - hamming_loss(targets, targets)


@settings(deadline=None, max_examples=40)
@given(episodes(), st.integers(1, 20))
def test_ece_equals_a_loop_over_bins(episode, num_bins):
    probabilities, labels = episode
    confidence, guess = probabilities.max(axis=1).astype(float), probabilities.argmax(axis=1)
    expected = 0.0
    for low in range(num_bins):
        inside = (confidence * num_bins > low) & (confidence * num_bins <= low + 1)
        if inside.any():
            right = np.mean([labels[q, guess[q]] / labels[q].sum() for q in np.flatnonzero(inside)])
            expected += inside.mean() * abs(right - confidence[inside].mean())
    assert expected_calibration_error(probabilities, labels, num_bins) == pytest.approx(expected)


def test_calibration_is_worse_for_an_overconfident_recognizer():
    rng = np.random.default_rng(0)
    honest = softmax(2 * rng.normal(size=(4000, 4)))
    targets = np.stack([rng.multinomial(1, row / row.sum()) for row in honest.astype(np.float64)])
    sharp = honest**3 / (honest**3).sum(axis=1, keepdims=True)
    assert score_episode(honest, targets)["ece"] < 0.03
    assert score_episode(sharp, targets)["ece"] > 0.1
    assert score_episode(sharp, targets)["brier"] > score_episode(honest, targets)["brier"]


def calibrated_draws(rng, queries, sharpness=1.5):
    """Probabilities, and labels that are drawn with just these probabilities."""
    probabilities = softmax(sharpness * rng.normal(size=(queries, 6)))
    return probabilities, np.stack(
        [rng.multinomial(1, row / row.sum()) for row in probabilities.astype(float)]
    )


def pooled_error(drawn):
    """The calibration error over episodes; every row is an utterance of its own."""
    probabilities, labels = (np.concatenate(part) for part in zip(*drawn, strict=True))
    episodes = np.repeat(np.arange(len(drawn)), [len(labels) for _, labels in drawn])
    return cross_fitted_errors(probabilities, labels, episodes, np.arange(len(labels))).mean()


@pytest.mark.parametrize("queries", [64, 128])
def test_calibrated_draws_have_no_calibration_error(queries):
    """The plain error of the same draws is 8 points or more, all of it bias."""
    rng = np.random.default_rng(queries)
    drawn = [calibrated_draws(rng, queries) for _ in range(400)]
    assert np.mean([expected_calibration_error(*draw) for draw in drawn]) > 0.08
    assert abs(np.mean([score_episode(*draw)["ece"] for draw in drawn])) < 0.01
    assert abs(pooled_error(drawn)) < 0.01
    assert abs(np.mean([pooled_error(drawn[start : start + 20]) for start in range(0, 400, 20)])) < 0.01


def test_calibrated_draws_of_several_labels_have_no_calibration_error():
    """The probabilities are those of the label distribution: half of the answers have a second label."""
    rng = np.random.default_rng(5)
    drawn = []
    for _ in range(200):
        first, labels = calibrated_draws(rng, 64)
        two = rng.random(64) < 0.5  # the second label is any other, whatever the first is
        others = (1 - labels) / 5
        for row in np.flatnonzero(two):
            labels[row, rng.choice(6, p=others[row])] = 1
        expected = 0.75 * first + 0.25 * (1 - first) / 5
        drawn.append((expected, labels))
    assert abs(pooled_error(drawn)) < 0.01
    assert abs(np.mean([score_episode(*draw)["ece"] for draw in drawn])) < 0.01


def test_repeated_utterances_do_not_look_like_miscalibration():
    """Ten episodes ask about the same 64 utterances, with the same answers and labels."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(200):
        probabilities, labels = (np.tile(part, (10, 1)) for part in calibrated_draws(rng, 64))
        episodes = np.repeat(np.arange(10), 64)
        found.append(cross_fitted_errors(probabilities, labels, episodes, np.tile(np.arange(64), 10)).mean())
    assert abs(np.mean(found)) < 0.01


@pytest.mark.parametrize("episodes_at_once", [20, 100])
def test_the_pooled_calibration_error_is_that_of_many_rows(episodes_at_once):
    """Overconfident probabilities: their error is known from 200,000 rows."""
    rng = np.random.default_rng(7)

    def overconfident(queries):
        probabilities, labels = calibrated_draws(rng, queries)
        sharp = probabilities.astype(np.float64) ** 1.6
        return (sharp / sharp.sum(axis=1, keepdims=True)).astype(np.float32), labels

    true_error = expected_calibration_error(*overconfident(200_000))
    assert true_error > 0.08
    drawn = [overconfident(64) for _ in range(episodes_at_once)]
    assert pooled_error(drawn) == pytest.approx(true_error, abs=0.025)


@pytest.mark.parametrize(
    ("probabilities", "targets", "complaint"),
    [
        ([[0.5, 0.5]], [[1, 0], [0, 1]], r"\(Q, C\)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), r"\(Q, C\)"),
        ([[np.nan, 0.5]], [[1, 0]], "sum to 1"),
        ([[1.5, -0.5]], [[1, 0]], "sum to 1"),
        ([[0.9, 0.9]], [[1, 0]], "sum to 1"),
        ([[0.5, 0.5]], [[0, 0]], "at least one label"),
        ([[0.5, 0.5]], [[0.5, 0.5]], "0 or 1"),
    ],
)
def test_invalid_probabilities_and_targets_are_refused(probabilities, targets, complaint):
    with pytest.raises(ValueError, match=complaint):
        score_episode(np.array(probabilities), np.array(targets))
