"""Pooling the answer after pairs with the answer without any."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize
from scipy.special import log_softmax, softmax

from perser.episodes.episode import Support
from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.inference import SpeechLMReader
from speechlm_icl.personalizer import SpeechLMPersonalizer
from speechlm_icl.prompt.demonstrations import DemonstrationOptions
from speechlm_icl.scoring.opinion_pool import PRECISION, OpinionPool, Weights, fit_weights, pooled

SUPPORT = Support(
    tuple(f"u{i}" for i in range(8)), tuple((("angry", "happy", "sad")[i % 3],) for i in range(8)), seed=0
)
QUERIES = [f"u{i}" for i in range(12, 30)]
POOL = {"pairs": [0, 1, 4, 16], "without": [2.0, 1.0, 0.8, 0.2], "after": [0.0, 0.1, 0.3, 0.9]}


@pytest.fixture
def pooling(model):
    """A model with weights."""
    own = copy.deepcopy(model)
    own.config.opinion_pool = POOL
    return own


def random_answers(count=400, seed=0):
    """Return random probabilities without and after pairs, and labels drawn from 0.7 log p0 + 0.4 log pN."""
    rng = np.random.default_rng(seed)
    plain, after = (softmax(1.5 * rng.standard_normal((count, 4)), axis=1) for _ in range(2))
    truth = softmax(0.7 * np.log(plain) + 0.4 * np.log(after), axis=1)
    return plain, after, np.array([rng.multinomial(1, row) for row in truth], dtype=np.float64)


def test_the_weights_that_drew_the_labels_are_found():
    assert fit_weights(*random_answers(40_000)) == pytest.approx((0.7, 0.4), abs=0.03)


def test_the_weights_are_the_most_likely_ones_under_the_prior():
    """An optimizer without gradients is the oracle; it finds no better weights."""
    plain, after, targets = random_answers(60)

    def objective(values):
        logs = log_softmax(values[0] * np.log(plain) + values[1] * np.log(after), axis=1)
        return -(targets * logs).sum() + PRECISION * ((values - np.array([0.0, 1.0])) ** 2).sum() / 2

    found = np.array(fit_weights(plain, after, targets))
    oracle = minimize(objective, [0.5, 0.5], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    np.testing.assert_allclose(found, oracle.x, atol=1e-3)
    slope = check_grad(objective, lambda values: np.zeros(2), found)
    assert slope < 0.05


def test_soft_labels_count_as_their_shares():
    plain, after, targets = random_answers(50)
    halves = np.full_like(targets, 0.0)
    halves[:, 0], halves[:, 1] = 0.5, 0.5
    both = fit_weights(plain, after, halves)
    first, second = (np.eye(4)[np.full(50, place)] for place in (0, 1))
    twice = fit_weights(
        *(np.concatenate([each, each]) for each in (plain, after)), np.concatenate([first, second])
    )
    assert both == pytest.approx(twice, abs=0.2)  # the prior counts half as much beside twice as many


def test_without_pairs_only_the_sharpness_is_fitted():
    plain, _, _ = random_answers()
    rng = np.random.default_rng(1)
    truth = softmax(3 * np.log(plain), axis=1)
    targets = np.array([rng.multinomial(1, row) for row in truth], dtype=np.float64)
    weights = fit_weights(plain, None, targets)
    assert weights.after == 0
    assert weights.without == pytest.approx(3, rel=0.15)


def test_answers_are_left_as_they_are_where_nothing_was_asked():
    nothing = np.zeros((0, 4))
    assert fit_weights(nothing, nothing, nothing) == (0.0, 1.0)
    assert fit_weights(nothing, None, nothing) == (1.0, 0.0)


def test_weights_change_evenly_with_the_logarithm_and_stay_beyond_the_last():
    pool = OpinionPool.from_json(POOL)
    assert pool.weights(0) == (2.0, 0.0)
    assert pool.weights(1) == pytest.approx((1.0, 0.1))
    assert pool.weights(2) == pytest.approx((0.9, 0.2))
    assert pool.weights(8) == pytest.approx((0.5, 0.6))
    assert pool.weights(100) == pytest.approx((0.2, 0.9))
    assert OpinionPool((0,), (0.5,), (0.0,)).weights(3) == (0.0, 1.0)
    assert OpinionPool.from_json(pool.as_json()) == pool


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"pairs": [0], "without": [1.0]},
        {"pairs": [], "without": [], "after": []},
        {"pairs": [1, 2], "without": [1.0, 1.0], "after": [1.0, 1.0]},
        {"pairs": [0, 2, 1], "without": [1.0] * 3, "after": [1.0] * 3},
        {"pairs": [0, 1], "without": [1.0, -0.5], "after": [0.0, 1.0]},
        {"pairs": [0, 1], "without": [1.0, float("nan")], "after": [0.0, 1.0]},
        {"pairs": [0, 1], "without": [1.0], "after": [0.0, 1.0]},
        {"pairs": [0, 1], "without": ["a", "b"], "after": [0.0, 1.0]},
    ],
)
def test_damaged_weights_are_one_line(wrong):
    with pytest.raises(UserError, match=r"^config\.json: opinion_pool is damaged .*: train the model again$"):
        OpinionPool.from_json(wrong)


@pytest.mark.parametrize("pairs", [1, 3, 8])
def test_answers_after_pairs_are_pooled_by_hand(pooling, model, store, pairs):
    support = SUPPORT.first(pairs)
    plain = SpeechLMPersonalizer(model, store, 0).personalize(support).predict_proba(QUERIES)
    after = SpeechLMPersonalizer(model, store).personalize(support).predict_proba(QUERIES)
    found = SpeechLMPersonalizer(pooling, store).personalize(support).predict_proba(QUERIES)
    a, b = OpinionPool.from_json(POOL).weights(pairs)
    by_hand = plain.astype(np.float64) ** a * after.astype(np.float64) ** b
    np.testing.assert_allclose(found, by_hand / by_hand.sum(axis=1, keepdims=True), atol=1e-6)
    assert found.dtype == np.float32
    assert np.abs(found - after).max() > 0.001


def test_answers_without_pairs_keep_their_order(pooling, model, store):
    plain = SpeechLMPersonalizer(model, store, 0).personalize(SUPPORT).predict_proba(QUERIES)
    found = SpeechLMPersonalizer(pooling, store, 0).personalize(SUPPORT).predict_proba(QUERIES)
    squared = plain**2
    np.testing.assert_allclose(found, squared / squared.sum(axis=1, keepdims=True), atol=1e-6)


def test_labels_of_a_persons_own_and_other_words_are_not_pooled(pooling, model, store):
    """Even where they are the emotions' own words, as when these are permuted."""
    for changed in (
        lambda personalizer: personalizer.with_labels(EmotionSet(("angry", "happy", "sad"))),
        lambda personalizer: personalizer.worded("", {}),
    ):
        answers = [
            changed(SpeechLMPersonalizer(each, store)).personalize(SUPPORT).predict_proba(QUERIES)
            for each in (pooling, model)
        ]
        np.testing.assert_array_equal(*answers)


def test_calibrated_answers_are_not_pooled(pooling, model, store):
    options = DemonstrationOptions(calibrated=True)
    answers = [
        SpeechLMPersonalizer(each, store, options=options).personalize(SUPPORT).predict_proba(QUERIES)
        for each in (pooling, model)
    ]
    np.testing.assert_array_equal(*answers)


def test_profiles_answer_alike_and_a_saved_model_keeps_its_weights(pooling, store, tmp_path):
    personal = SpeechLMPersonalizer(pooling, store).personalize(SUPPORT)
    reader = SpeechLMReader(pooling, personal.enrollments, personal.matcher, personal.pool)
    expected = personal.predict_proba(QUERIES)
    np.testing.assert_array_equal(reader.predict_proba(store, QUERIES), expected)
    pooling.save_pretrained(tmp_path / "model")
    loaded = type(pooling).from_pretrained(tmp_path / "model")
    again = SpeechLMPersonalizer(loaded, store).personalize(SUPPORT).predict_proba(QUERIES)
    np.testing.assert_allclose(again, expected, atol=1e-6)


def test_pooled_probabilities_are_normalized_and_zeros_are_no_error():
    rows = np.exp(pooled(np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]]), Weights(1.0, 1.0)))
    np.testing.assert_allclose(rows, [[0.5, 0.5]])
