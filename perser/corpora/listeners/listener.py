"""One simulated listener: how they answer about clips, and with which probabilities.

The shares of a clip say how often people hear each emotion in it. A listener answers by a rule of their own:

    perceived = shares @ confusion
    logits = sharpness * log(perceived + EPSILON) + bias + NOISE * Gumbel(0, 1)

The emotion with the largest logit is a label, and so is every emotion within `breadth` of it. With the
probability `lapse`, the listener does not listen, and the logits are noise alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EPSILON = 0.01
"""Added to shares, so that an emotion that nobody heard stays possible."""

NOISE = 0.5
"""Scale of the Gumbel noise: how much a listener varies from answer to answer."""

QUADRATURE_NODES = 48
"""Of the integral over the largest logit; the probabilities are then exact to 1e-6."""


@dataclass(frozen=True)
class Listener:
    """How one simulated listener answers. C is the number of emotions."""

    name: str
    bias: tuple[float, ...]
    """(C,) added to the logits: the emotions that this listener gives more or less readily."""
    sharpness: float
    """How closely the listener follows the shares; 0 ignores the clip."""
    breadth: float = 0.0
    """Emotions whose logit is at most this far below the largest are given too; 0 gives exactly one label."""
    lapse: float = 0.0
    """The probability of an answer that has nothing to do with the clip."""
    confusion: tuple[tuple[float, ...], ...] | None = None
    """(C, C), rows sum to 1: as what the listener perceives each emotion; None: as what it is."""


def annotate(listener: Listener, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the listener's labels for clips with these shares.

    `shares` is (num_clips, C); each row is the share of people who hear each emotion and sums to 1. The
    result is bool of the same shape, with at least one True per row. Raises ValueError if the shares are no
    distributions over C emotions.
    """
    logits = _logits(listener, shares)
    noise = NOISE * rng.gumbel(size=logits.shape)
    if listener.lapse > 0:
        logits[rng.random(len(logits)) < listener.lapse] = 0.0
    logits += noise
    return logits >= logits.max(axis=1, keepdims=True) - listener.breadth


def response_distribution(listener: Listener, shares: np.ndarray) -> np.ndarray:
    """Return the listener's mean answer to clips with these shares.

    Each answer is spread evenly over its labels. The result is float64 (num_clips, C), rows sum to 1; where
    the breadth is 0, it holds the probability of each emotion. No prediction of the label distributions has a
    lower expected log loss.
    """
    odds = _softmax(_logits(listener, shares) / NOISE)
    answers = odds if listener.breadth == 0 else _spread_evenly(odds, np.exp(listener.breadth / NOISE))
    return (1 - listener.lapse) * answers + listener.lapse / answers.shape[1]


def mean_distribution(listeners: Sequence[Listener], shares: np.ndarray) -> np.ndarray:
    """Return the mean of the listeners' response distributions: float64 (num_clips, C)."""
    return np.mean([response_distribution(listener, shares) for listener in listeners], axis=0)


def _logits(listener: Listener, shares: np.ndarray) -> np.ndarray:
    """Return the logits without noise."""
    shares = np.asarray(shares, dtype=np.float64)
    if shares.ndim != 2 or shares.shape[1] != len(listener.bias):
        raise ValueError(f"shares need shape (num_clips, {len(listener.bias)}), got {shares.shape}")
    if (shares < 0).any() or not np.allclose(shares.sum(axis=1), 1.0, atol=1e-4):
        raise ValueError("every row of shares must be a distribution: not negative, summing to 1")
    perceived = shares if listener.confusion is None else shares @ np.array(listener.confusion)
    return listener.sharpness * np.log(perceived + EPSILON) + np.array(listener.bias)


def _softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _spread_evenly(first: np.ndarray, reach: float) -> np.ndarray:
    """Return the mean of answers that are spread evenly over several labels.

    Args:
        first: (num_clips, C), the probability that an emotion's logit is the largest.
        reach: exp(breadth / NOISE).

    If x = exp(-largest logit / NOISE), scaled to the standard exponential distribution, then another
    emotion is within reach of the largest logit with the probability 1 - exp(-first * (reach - 1) * x),
    independently of the others. The mean of 1 / number of labels is the integral of t ** (labels - 1) over t
    from 0 to 1, which factors into the emotions. Both integrals are done by Gaussian quadrature.
    """
    x, x_weights = np.polynomial.laguerre.laggauss(QUADRATURE_NODES)
    t, t_weights = np.polynomial.legendre.leggauss(first.shape[1] // 2 + 1)  # exact for these polynomials
    t, t_weights = (t + 1) / 2, t_weights / 2
    result = np.zeros_like(first)
    for node, node_weight in zip(x, x_weights, strict=True):
        given = -np.expm1(-first * (reach - 1) * node)
        for at, at_weight in zip(t, t_weights, strict=True):
            factors = at * given + 1 - given
            product = np.prod(factors, axis=1, keepdims=True)
            alone = first / factors  # the emotion is the largest, and the others may be within reach
            rest = alone.sum(axis=1, keepdims=True) - alone
            result += node_weight * at_weight * product * (alone + at * given / factors * rest)
    return result / result.sum(axis=1, keepdims=True)
