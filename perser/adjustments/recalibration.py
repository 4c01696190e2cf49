"""Recalibrate any method to a person: a bias over the emotions, and a temperature, fitted to the support.

Both are the most likely ones under normal priors, whose strengths are chosen on validation persons. They
use nothing but a method's probabilities: `+prior-shift` and `+bias-scale` may follow any method's name.

Entire-Zero with a bias (`prior-shift`) scores about as well as a method that learns only how often a person
uses each label. One that claims to learn more must beat it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from perser.adjustments.blas_threads import one_blas_thread
from perser.episodes.episode import Episode, Support
from perser.labels import EmotionSet
from perser.personalizer import Personalizer, Predictor
from perser.selection.grid import Found, Grid, search
from perser.training.options import Criterion

SMALLEST = np.finfo(np.float32).tiny
"""Probabilities below this are raised to it before their logarithm is taken."""

NEWTON_STEPS = 20

LARGEST_LOG_SCALE = 3.0
"""The scale lies between exp(-3) and exp(3)."""

STRENGTHS = Grid(
    (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0), start=(4, 8)
)
"""From 0.1 to 10, and further in either direction where that is better."""


@dataclass(frozen=True)
class Priors:
    """How strongly the parameters are held at those that change nothing.

    Args:
        bias: the precision of the normal prior of each emotion's bias, around 0.
        scale: the precision of that of the scale's logarithm, around 0; None: the scale stays 1.
    """

    bias: float = 1.0
    scale: float | None = None


class Fitted(NamedTuple):
    """What is added to logits after they are multiplied: bias (C,), in float64, and scale."""

    bias: np.ndarray
    scale: float = 1.0

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Return probabilities (N, C) of logits (N, C)."""
        return softmax(self.scale * logits + self.bias, axis=1)


def fit(logits: np.ndarray, targets: np.ndarray, priors: Priors) -> Fitted:
    """Return the bias b and scale s that fit a support best, in float64.

    They minimize the summed cross-entropy of softmax(s * logits + b) against the target distributions, plus
    priors.bias / 2 * |b|^2 + priors.scale / 2 * log(s)^2.

    `logits` and `targets` are (K, C), and rows of `targets` sum to 1.
    """
    logits, targets = np.asarray(logits, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    bias = fit_bias(logits, targets, priors.bias)
    if priors.scale is None:
        return Fitted(bias)
    strength = np.r_[np.full(len(bias), priors.bias), priors.scale]

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = np.exp(values[-1]) * logits
        log_probabilities = log_softmax(scaled + values[:-1], axis=1)
        errors = np.exp(log_probabilities) - targets
        gradient = np.r_[errors.sum(axis=0), (errors * scaled).sum()] + strength * values
        return -(targets * log_probabilities).sum() + (strength * values**2).sum() / 2, gradient

    bounds = [(None, None)] * len(bias) + [(-LARGEST_LOG_SCALE, LARGEST_LOG_SCALE)]
    tight = {"ftol": 1e-14, "gtol": 1e-8}
    found = minimize(objective, np.r_[bias, 0.0], jac=True, method="L-BFGS-B", bounds=bounds, options=tight)
    return Fitted(found.x[:-1], float(np.exp(found.x[-1])))


def fit_bias(logits: np.ndarray, targets: np.ndarray, strength: float) -> np.ndarray:
    """Return the bias (C,) alone, by damped Newton steps; strictly convex for strength > 0."""
    bias = np.zeros(logits.shape[1])

    def objective(candidate: np.ndarray) -> float:
        return (
            -(targets * log_softmax(logits + candidate, axis=1)).sum() + strength / 2 * candidate @ candidate
        )

    for _ in range(NEWTON_STEPS):
        predicted = softmax(logits + bias, axis=1)
        gradient = (predicted - targets).sum(axis=0) + strength * bias
        hessian = np.diag(predicted.sum(axis=0) + strength) - predicted.T @ predicted
        step = np.linalg.solve(hessian, gradient)
        size, now = 1.0, objective(bias)
        while objective(bias - size * step) > now and size > 1e-6:
            size /= 2
        bias = bias - size * step
    return bias


class RecalibratedPredictor:
    """Another predictor's probabilities with one person's bias and scale."""

    def __init__(self, base: Predictor, fitted: Fitted) -> None:
        self._base = base
        self._fitted = fitted

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        """Return probabilities: float32 (num_utterances, num_emotions), rows sum to 1."""
        return self._fitted.apply(_logits(self._base.predict_proba(utterances))).astype(np.float32)


class Recalibrated(Personalizer):
    """Another method, whose answers get the bias and scale that fit the support best.

    They are fitted to what the method says of the support's utterances where it has not learned from them
    (`Personalizer.predict_support`).
    """

    def __init__(
        self, base: Personalizer, emotions: EmotionSet, priors: Priors, tried: Sequence[Found] = ()
    ) -> None:
        self.route = base.route  # type: ignore[misc]
        self._base = base
        self._emotions = emotions
        self._priors = priors
        self._tried = tried

    def personalize(self, support: Support) -> RecalibratedPredictor:
        logits = _logits(self._base.predict_support(support))
        with one_blas_thread():
            fitted = fit(logits, self._emotions.distribution(support.emotions), self._priors)
        return RecalibratedPredictor(self._base.personalize(support), fitted)

    def standardized_by(self, clips: Sequence[str], prior_clips: float) -> Recalibrated:
        base = self._base.standardized_by(clips, prior_clips)
        return Recalibrated(base, self._emotions, self._priors, self._tried)

    def describe(self) -> dict[str, object]:
        changed = "a bias" if self._priors.scale is None else "a bias and a scale"
        own: dict[str, object] = {"recalibrated": f"{changed} of the logits", "strength": self._priors.bias}
        if self._priors.scale is not None:
            own["strength of the scale"] = self._priors.scale
        if tried := [found.text for found in self._tried]:
            own["strengths tried"] = ", ".join(tried)
        return self._base.describe() | own

    def parameters(self) -> dict[str, int]:
        base = self._base.parameters()
        return base | {"moved": base["moved"] + len(self._emotions) + (self._priors.scale is not None)}


def choose_priors(
    base: Personalizer,
    episodes: Sequence[Episode],
    emotions: EmotionSet,
    with_scale: bool,
    criterion: Criterion = "log_loss",
) -> tuple[Priors, dict[str, Found]]:
    """Return the strengths with which a recalibration is best on validation episodes.

    Without episodes they are 1. Also returns what was tried for each of them.

    Args:
        base: the method that is recalibrated; it answers each episode once.
        episodes: of the validation persons.
        emotions: of the corpus.
        with_scale: whether a scale is fitted too, or the bias alone.
        criterion: what is best: the lowest log loss, or the highest macro-F1.
    """
    priors = Priors(scale=1.0 if with_scale else None)
    if not episodes:
        return priors, {}
    answered = [_Answered.of(base, episode, emotions) for episode in episodes]

    def chosen(name: str) -> Found:
        def scores(value: float, start: int, stop: int) -> list[float]:
            tried = replace(priors, **{name: value})
            return [each.goodness(tried, criterion) for each in answered[start:stop]]

        return search(STRENGTHS, scores, len(answered))

    names = ["bias"] if priors.scale is None else ["bias", "scale", "bias"]
    found: dict[str, Found] = {}
    with one_blas_thread():
        for name in names:  # the bias again, now with the scale's strength
            found[name] = chosen(name)
            priors = replace(priors, **{name: found[name].value})
    return priors, found


def recalibrated(
    base: Personalizer, episodes: Sequence[Episode], emotions: EmotionSet, with_scale: bool
) -> Recalibrated:
    """Return a method recalibrated with the strengths that are best on validation episodes."""
    priors, tried = choose_priors(base, episodes, emotions, with_scale)
    return Recalibrated(base, emotions, priors, list(tried.values()))


@dataclass(frozen=True)
class _Answered:
    """What a method says of an episode's support and query, as logits, and what the person heard."""

    support: np.ndarray
    support_targets: np.ndarray
    query: np.ndarray
    query_targets: np.ndarray
    query_answers: np.ndarray

    @classmethod
    def of(cls, base: Personalizer, episode: Episode, emotions: EmotionSet) -> _Answered:
        support = episode.support
        return cls(
            _logits(base.predict_support(support)),
            emotions.distribution(support.emotions),
            _logits(base.personalize(support).predict_proba(episode.query_utterances)),
            emotions.distribution(episode.query_emotions),
            emotions.multi_hot(episode.query_emotions),
        )

    def goodness(self, priors: Priors, criterion: Criterion) -> float:
        """Return a number that is higher for better strengths."""
        probabilities = fit(self.support, self.support_targets, priors).apply(self.query)
        if criterion == "maF1":
            # Imported here, because metrics take long to import and an answer about a clip needs none.
            from perser.metrics import score_episode

            return score_episode(probabilities, self.query_answers)["maF1"]
        return -float(-(self.query_targets * np.log(probabilities.clip(SMALLEST))).sum(axis=1).mean())


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.asarray(probabilities, dtype=np.float64).clip(SMALLEST))
