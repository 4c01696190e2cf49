"""Listeners of whom everything is known: the report ranks whoever learns what there is to learn first."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from benchmarks.measuring.aggregate import aggregate_results
from benchmarks.measuring.answer import answer_questions, score_answers
from benchmarks.measuring.scores import MethodScores
from benchmarks.oracles import OraclePersonalizer
from perser.adjustments.recalibration import Recalibrated, choose_priors
from perser.corpora.listeners.listener import Listener, annotate, mean_distribution
from perser.corpora.listeners.truth import ListenerTruth
from perser.episodes.episode import Episode, Support
from perser.labels import EmotionSet
from perser.personalizer import Personalizer

from .test_aggregate import FIRST

EMOTIONS = EmotionSet(("angry", "happy", "neutral", "sad"))
C = len(EMOTIONS)
K, Q, TESTED, VALIDATED = 48, 64, 24, 16
MARGIN = 0.1
"""Nats by which the oracle has to be ahead of Prior-Shift where a confusion matters more than a bias."""


@dataclass(frozen=True)
class Table(Personalizer):
    """Answers as the listeners do on average, but for their biases: Entire-Zero with a perfect model."""

    answers: dict
    route = "meta-perser"

    def personalize(self, support):
        return self

    def predict_proba(self, utterances):
        return np.stack([self.answers[name] for name in utterances]).astype(np.float32)


@dataclass(frozen=True)
class LearnsConfusions(Personalizer):
    """Adds a matrix that is learned from the support, under a normal prior, to Entire-Zero's logits."""

    zero: Table
    strength: float
    route = "meta-perser"

    def personalize(self, support):
        answers = self.zero.predict_proba(support.utterances).astype(np.float64)
        targets = EMOTIONS.distribution(support.emotions)

        def objective(values):
            change = values.reshape(C, C)
            logs = log_softmax(np.log(answers) + answers @ change, axis=1)
            gradient = answers.T @ (np.exp(logs) - targets) + self.strength * change
            return -(targets * logs).sum() + self.strength / 2 * values @ values, gradient.ravel()

        change = minimize(objective, np.zeros(C * C), jac=True, method="L-BFGS-B").x.reshape(C, C)
        changed = {name: softmax(np.log(row) + row @ change) for name, row in self.zero.answers.items()}
        return Table(changed)


def listeners(rng, confused, number=TESTED + VALIDATED):
    """Return listeners who differ in a bias, and in a confusion of two emotions where `confused`."""
    found = {}
    for place in range(number):
        confusion = np.eye(C)
        if confused:
            first, second = rng.choice(C, 2, replace=False)
            confusion[[first, second]] = confusion[[second, first]]
        bias = rng.normal(0, 0.15 if confused else 0.6, C)
        name = f"listener {place:02}"
        confusions = tuple(map(tuple, 0.9 * confusion + 0.1 / C)) if confused else None
        found[name] = Listener(name, tuple(bias), 1.0, confusion=confusions)
    return found


def measure(seed, confused):
    """Return results.json of the methods, measured on listeners drawn with a seed."""
    rng = np.random.default_rng(seed)
    shares = {f"clip {place}": row for place, row in enumerate(rng.dirichlet(np.full(C, 0.4), size=400))}
    truth = ListenerTruth("generated", listeners(rng, confused), shares)
    # Without a bias, so that all that a listener adds to these logits is their own.
    unbiased = [replace(listener, bias=(0.0,) * C) for listener in truth.listeners.values()]
    average = mean_distribution(unbiased, np.stack([*shares.values()]))
    zero = Table(dict(zip(shares, average, strict=True)))
    episodes = []
    for number, (name, listener) in enumerate(truth.listeners.items()):
        chosen = [f"clip {place}" for place in rng.permutation(len(shares))[: K + Q]]
        heard = [EMOTIONS.words(row) for row in annotate(listener, truth.shares_of(chosen), rng)]
        support = Support(tuple(chosen[:K]), tuple(heard[:K]), number)
        episodes.append(Episode(f"episode {number}", name, 0, support, tuple(chosen[K:]), tuple(heard[K:])))
    test, validation = episodes[:TESTED], episodes[TESTED:]
    persons = {episode.support: episode.person for episode in test}
    methods = {
        "entire-zero": zero,
        "prior-shift": Recalibrated(zero, EMOTIONS, choose_priors(zero, validation, EMOTIONS, False)[0]),
        "bias-scale": Recalibrated(zero, EMOTIONS, choose_priors(zero, validation, EMOTIONS, True)[0]),
        "learns-confusions": LearnsConfusions(zero, 1.0),
        "oracle": OraclePersonalizer(truth, persons, bias_alone=False),
    }
    measured = []
    for name, method in methods.items():
        answers = answer_questions(method, [episode.question for episode in test], name)
        scores = tuple(
            replace(score, metrics={"log_loss": score.metrics["log_loss"]})  # all that is asked for here
            for score in score_answers(answers, test, EMOTIONS)
        )
        measured.append(MethodScores(name, method.route, {}, scores, 0.0, 0.0, {}, 0, [[0.0]], [[0.0]]))
    return aggregate_results([replace(FIRST, methods=tuple(measured))], "t")


def losses(results):
    return {row["method"]: row["metrics"]["log_loss"]["mean"] for row in results["rows"]}


def ahead(results, a, b):
    """Return the interval of how much lower the log loss of a is than that of b."""
    for pair in results["differences"]:
        if pair["metric"] == "log_loss" and {pair["a"], pair["b"]} == {a, b}:
            return (pair["low"], pair["high"]) if pair["a"] == b else (-pair["high"], -pair["low"])
    raise AssertionError(f"{a} and {b} were not paired")


@pytest.mark.parametrize("seed", range(2))
def test_a_confusion_that_matters_more_than_a_bias_is_seen(seed):
    results = measure(seed, confused=True)
    found = losses(results)
    assert found["oracle"] < found["prior-shift"] - MARGIN
    shares = {row["method"]: row["metrics"]["gain_share"]["mean"] for row in results["rows"]}
    assert shares["learns-confusions"] > shares["prior-shift"]
    assert ahead(results, "learns-confusions", "prior-shift")[0] > 0
    assert shares["oracle"] == pytest.approx(1)


def test_where_only_a_bias_exists_nobody_beats_prior_shift():
    """On this side an interval of 95% leaves out 0 by chance in one of 40 draws."""
    seen = []
    for seed in range(4):
        results = measure(seed, confused=False)
        assert ahead(results, "prior-shift", "entire-zero")[0] > 0
        seen += [
            (seed, name)
            for name in ("bias-scale", "learns-confusions")
            if ahead(results, name, "prior-shift")[0] > 0
        ]
    assert len(seen) <= 1, seen
