"""Pool the answer after a person's pairs with the answer without any.

A model that learned in training to read from the pairs what words mean does so for the emotions' own words,
too. After few pairs it then knows less than it knew without any. How much each of the two answers is worth
depends on the number of pairs, and validation persons say it. The answers are pooled as

    softmax(a log p0 + b log pN)

where p0 is the answer without pairs and pN that after N pairs: a logarithmic opinion pool (Genest and Zidek
1986, Combining Probability Distributions, Statistical Science 1). a and b are fitted for some numbers of
pairs and interpolated between these. Without pairs only a is used, which says how sure answers may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from perser.errors import UserError
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.projectors.base import Clips
from speechlm_icl.scoring.prefix_cache import PrefixCache, build_prefix_cache
from speechlm_icl.scoring.scoring import score_queries

PRECISION = 4.0
"""Of the normal prior around an answer that is left as it is. It decides where there are very few answers."""

SMALLEST = 1e-9
"""Probabilities below this are raised to it before their logarithm is taken."""


class Weights(NamedTuple):
    """a and b: how much the answers without and with pairs count."""

    without: float
    after: float


@dataclass(frozen=True)
class OpinionPool:
    """The weights at some numbers of pairs.

    Args:
        pairs: The numbers of pairs, in ascending order, the first of them 0.
        without: a at each of them.
        after: b at each of them; not used at 0.
    """

    pairs: tuple[int, ...]
    without: tuple[float, ...]
    after: tuple[float, ...]

    def __post_init__(self) -> None:
        weights = np.array([self.without, self.after], dtype=np.float64)
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError("the weights must be 0 or more")
        ordered = self.pairs[0] == 0 and (np.diff(self.pairs) > 0).all()
        if weights.shape != (2, len(self.pairs)) or not ordered:
            raise ValueError("give weights for numbers of pairs in ascending order, the first of them 0")

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` wrote. Raises UserError for anything else."""
        try:
            return cls(*(tuple(content[name]) for name in ("pairs", "without", "after")))
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise UserError(
                f"config.json: opinion_pool is damaged ({error}): train the model again"
            ) from error

    def as_json(self) -> dict[str, list[float]]:
        return {name: list(values) for name, values in asdict(self).items()}

    def weights(self, pairs: int) -> Weights:
        """Return the weights after so many pairs. They change evenly with the logarithm of their number."""
        if pairs == 0:
            return Weights(self.without[0], 0.0)
        at, known = np.log2(pairs), np.log2(self.pairs[1:])
        if not len(known):
            return Weights(0.0, 1.0)
        return Weights(*(float(np.interp(at, known, each[1:])) for each in (self.without, self.after)))


@dataclass(frozen=True)
class PooledAnswers:
    """What pools the answers after one enrollment with those without it.

    Args:
        weights: How much each counts.
        without: What the model has read before an answer without pairs; None where there is no pair anyway.
    """

    weights: Weights
    without: PrefixCache | None

    def mix(self, model: SpeechLMForICL, features: Clips, probabilities: np.ndarray) -> np.ndarray:
        """Return the pooled probabilities (Q, C) of queries.

        Args:
            model: The model.
            features: Features of the queries.
            probabilities: Its answers to them after the enrollment (Q, C).
        """
        plain = probabilities
        if self.without is not None:
            plain = score_queries(model, self.without, features).softmax(dim=1).numpy()
        return np.exp(pooled(plain, probabilities, self.weights)).astype(np.float32)


def pooled_answers(model: SpeechLMForICL, pairs: int) -> PooledAnswers | None:
    """Return what pools the answers of a model after so many pairs.

    None is returned where no weights were fitted to it, and where its prompt has other words than in
    training: what the model knows of its own words then says nothing.
    """
    content = getattr(model.config, "opinion_pool", None)
    if content is None or model.prompt is not model.trained_prompt:
        return None
    weights = OpinionPool.from_json(content).weights(pairs)
    return PooledAnswers(weights, build_prefix_cache(model, None, []) if pairs else None)


def pooled(without: np.ndarray, after: np.ndarray, weights: Weights) -> np.ndarray:
    """Return the logarithms of pooled probabilities (n, C) of the answers without and after pairs."""
    logs = [np.log(each.astype(np.float64).clip(SMALLEST)) for each in (without, after)]
    return log_softmax(weights.without * logs[0] + weights.after * logs[1], axis=1)


def fit_weights(without: np.ndarray, after: np.ndarray | None, targets: np.ndarray) -> Weights:
    """Return the most likely weights under a normal prior; the likelihood's logarithm is concave in them.

    Args:
        without: Probabilities of the answers without pairs (n, C).
        after: Those after the pairs (n, C); None: there are no pairs.
        targets: Label distributions (n, C).
    """
    answers: Sequence[np.ndarray] = [without] if after is None else [without, after]
    logs = np.stack([np.log(each.astype(np.float64).clip(SMALLEST)) for each in answers])
    prior = np.array([1.0] if after is None else [0.0, 1.0])

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        log_pooled = log_softmax(np.tensordot(values, logs, axes=1), axis=1)
        apart = values - prior
        loss = -(targets * log_pooled).sum() + PRECISION * (apart**2).sum() / 2
        errors = np.exp(log_pooled) * targets.sum(axis=1, keepdims=True) - targets
        return loss, (logs * errors).sum(axis=(1, 2)) + PRECISION * apart

    bounds = [(0.0, None)] * len(prior)
    found = minimize(objective, prior, jac=True, method="L-BFGS-B", bounds=bounds).x.tolist()
    return Weights(found[0], found[1] if after is not None else 0.0)
