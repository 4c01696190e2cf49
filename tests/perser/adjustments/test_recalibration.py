"""Prior-Shift and Bias-Scale: the fits against a general optimizer, and the recalibration of any method."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from perser.adjustments.recalibration import (
    Fitted,
    Priors,
    Recalibrated,
    RecalibratedPredictor,
    choose_priors,
    fit,
    fit_bias,
)
from perser.episodes.episode import Episode, Support
from perser.errors import UserError
from perser.labels import EmotionSet
from perser.metrics import score_episode
from perser.personalizer import Personalizer
from perser.training.options import Criterion

EMOTIONS = EmotionSet(("angry", "happy", "neutral", "sad"))


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
def test_the_bias_is_the_minimum_found_by_scipy(strength):
    rng = np.random.default_rng(0)
    logits = 2 * rng.standard_normal((32, 6))
    targets = rng.dirichlet(np.full(6, 0.3), size=32)

    def objective(bias):
        return -(targets * log_softmax(logits + bias, axis=1)).sum() + strength / 2 * (bias**2).sum()

    expected = minimize(objective, np.zeros(6), method="BFGS", options={"gtol": 1e-8}).x
    np.testing.assert_allclose(fit_bias(logits, targets, strength), expected, atol=1e-4)


@pytest.mark.parametrize("strength", [0.3, 3.0])
def test_bias_and_scale_are_the_minimum_found_without_gradients(strength):
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((64, 3))
    targets = np.eye(3)[[rng.choice(3, p=row) for row in softmax(2.5 * logits + [1.0, 0.0, -1.0], axis=1)]]
    priors = Priors(strength, 0.5 * strength)

    def objective(values):
        fits = -(targets * log_softmax(np.exp(values[3]) * logits + values[:3], axis=1)).sum()
        return fits + strength / 2 * (values[:3] ** 2).sum() + 0.5 * strength / 2 * values[3] ** 2

    tight = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20_000, "maxfev": 20_000}
    expected = minimize(objective, np.zeros(4), method="Nelder-Mead", options=tight).x
    found = fit(logits, targets, priors)
    np.testing.assert_allclose(found.bias, expected[:3], atol=1e-4)
    assert found.scale == pytest.approx(np.exp(expected[3]), rel=1e-4)
    assert found.scale > 1.3
    np.testing.assert_allclose(found.apply(logits).sum(axis=1), 1)


def test_a_support_with_a_single_emotion_gives_a_finite_bias():
    targets = np.zeros((4, 3))
    targets[:, 1] = 1.0
    bias = fit_bias(np.zeros((4, 3)), targets, 0.1)
    assert np.isfinite(bias).all()
    assert bias.argmax() == 1


def test_strong_priors_change_nothing():
    rng = np.random.default_rng(2)
    logits, targets = rng.standard_normal((16, 4)), np.eye(4)[rng.integers(4, size=16)]
    found = fit(logits, targets, Priors(1e9, 1e9))
    np.testing.assert_allclose(found.apply(logits), softmax(logits, axis=1), atol=1e-6)


class Table(Personalizer):
    """Answers from a table, learns nothing, and remembers the supports that it was given."""

    route = "table"

    def __init__(self, answers):
        self.answers = answers
        self.supports = []

    def personalize(self, support):
        self.supports.append(support.utterances)
        return self

    def predict_proba(self, utterances):
        return np.stack([self.answers[name] for name in utterances]).astype(np.float32)


def draw(rng, bias, scale, answers, persons=6, size=32):
    """Return episodes of persons whose answers have this bias and scale."""
    names = list(answers)
    episodes = []
    for number in range(persons):
        chosen = rng.permutation(names)[: 2 * size]
        true = softmax(scale * np.log([answers[name] for name in chosen]) + bias, axis=1)
        labels = [(EMOTIONS.names[rng.choice(4, p=row)],) for row in true]
        support = Support(tuple(chosen[:size]), tuple(labels[:size]), number)
        person = f"person {number}"
        episodes.append(Episode(person, person, 0, support, tuple(chosen[size:]), tuple(labels[size:])))
    return episodes


@pytest.fixture
def answers():
    rng = np.random.default_rng(3)
    return {f"clip-{number}": row for number, row in enumerate(rng.dirichlet(np.full(4, 0.7), size=200))}


def log_loss(method, episodes):
    return np.mean(
        [
            -np.log(
                (
                    method.personalize(episode.support).predict_proba(episode.query_utterances)
                    * EMOTIONS.multi_hot(episode.query_emotions)
                ).sum(axis=1)
            ).mean()
            for episode in episodes
        ]
    )


def test_a_pair_is_predicted_where_it_was_not_learned_from(answers):
    table = Table(answers)
    support = draw(np.random.default_rng(4), 0, 1, answers, 1)[0].support
    predicted = table.predict_support(support)
    np.testing.assert_array_equal(predicted, table.predict_proba(support.utterances))
    assert len(table.supports) == 4
    left_out = [name for learned in table.supports for name in support.utterances if name not in learned]
    assert sorted(left_out) == sorted(support.utterances)
    with pytest.raises(UserError, match="at least 2"):
        table.predict_support(support.first(1))
    assert table.predict_support(support.first(2)).shape == (2, 4)


def test_a_bias_and_a_scale_of_persons_are_learned_and_their_strengths_are_chosen(answers):
    rng = np.random.default_rng(5)
    bias = np.array([0.0, -1.0, 1.5, -0.5])
    validation, test = (draw(rng, bias, 3.0, answers, persons=12) for _ in range(2))
    table = Table(answers)
    shifted, found = choose_priors(table, validation, EMOTIONS, with_scale=False)
    both, found_both = choose_priors(table, validation, EMOTIONS, with_scale=True)
    assert shifted.scale is None
    assert found.keys() == {"bias"}
    assert found_both.keys() == {"bias", "scale"}
    assert found_both["scale"].value < 10  # the persons' scale is not 1
    losses = [
        log_loss(method, test)
        for method in (table, Recalibrated(table, EMOTIONS, shifted), Recalibrated(table, EMOTIONS, both))
    ]
    assert losses[0] > losses[1] > losses[2]
    truth = RecalibratedPredictor(table, Fitted(bias, 3.0))
    known = np.mean(
        [
            -np.log(
                (truth.predict_proba(one.query_utterances) * EMOTIONS.multi_hot(one.query_emotions)).sum(1)
            ).mean()
            for one in test
        ]
    )
    assert losses[0] - losses[2] > 0.8 * (losses[0] - known)


def test_strengths_are_chosen_by_macro_f1_where_that_is_asked_for(answers):
    table = Table(answers)

    def chosen(persons: list[Episode], criterion: Criterion) -> Priors:
        return choose_priors(table, persons, EMOTIONS, with_scale=False, criterion=criterion)[0]

    def macro_f1(persons: list[Episode], priors: Priors) -> float:
        method, scores = Recalibrated(table, EMOTIONS, priors), []
        for episode in persons:
            probabilities = method.personalize(episode.support).predict_proba(episode.query_utterances)
            scores.append(score_episode(probabilities, EMOTIONS.multi_hot(episode.query_emotions))["maF1"])
        return float(np.mean(scores))

    gained = []
    for seed in range(6):
        persons = draw(np.random.default_rng(seed), np.array([0.0, -1.0, 1.5, -0.5]), 3.0, answers, persons=6)
        by_f1, by_log_loss = chosen(persons, "maF1"), chosen(persons, "log_loss")
        gained.append(macro_f1(persons, by_f1) - macro_f1(persons, by_log_loss))
    assert min(gained) >= -0.005  # strengths may be dropped after some of the episodes
    assert max(gained) > 0


def test_persons_without_a_bias_are_left_as_they_are(answers):
    rng = np.random.default_rng(6)
    validation = draw(rng, 0, 1, answers, persons=20)
    priors, found = choose_priors(Table(answers), validation, EMOTIONS, with_scale=True)
    assert priors.bias >= 30
    assert found["bias"].highest >= 30  # further than the grid begins with


def test_without_validation_persons_strengths_are_1(answers):
    assert choose_priors(Table(answers), [], EMOTIONS, with_scale=True) == (Priors(1.0, 1.0), {})
