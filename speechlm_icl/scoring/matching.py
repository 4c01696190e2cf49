"""Match a clip with the enrolled clips by the encoder's own features, beside the language model.

A language model reads pairs through a projector that keeps what separated labels in its training. What
separates those of another corpus may be lost there. A ridge regression on all of the encoder's features,
fitted to the enrolled clips in closed form, loses nothing, but it knows nothing from training either. With
few clips it is far behind where the language model is at home, and ahead where that is abroad.

Which of the two to believe, the enrolled clips say: each part of them is answered by both from the other
parts. The answers are mixed as softmax(a log p + b s), where p is what the language model says and s are the
scores of the regression. a and b are the most likely ones under a normal prior, which decides while there are
few clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor

from speechlm_icl.projectors.base import Clips

RIDGE = 0.28
"""Penalty of the regression's squared weights, in relation to features of mean square 1."""

SCALE = 6.0
"""Of the scores s, so that exp(s) is about as sharp as probabilities are."""

PARTS = 5
"""Into how many parts the enrolled clips are divided."""

SMALLEST = 1e-9
"""Probabilities below this are raised to it before their logarithm is taken."""


class Mixture(NamedTuple):
    """a and b: how much the language model and the regression count."""

    language: float
    matching: float


PRIOR = Mixture(0.7, 0.7)
"""The mean of the prior: the mixture where the enrolled clips say nothing."""

PRECISION = Mixture(16.0, 16.0)
"""The precisions of the prior. Both were chosen with a model of CREMA-D, on its speakers and EmoGator's."""


@dataclass(frozen=True)
class Matcher:
    """The enrolled clips, and how much they count beside the language model.

    Args:
        features: Standardized features of the enrolled clips (N, D).
        targets: Their label distributions (N, C).
        mixture: See the module.
    """

    features: np.ndarray
    targets: np.ndarray
    mixture: Mixture

    def mix(self, probabilities: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """Return the mixed probabilities (Q, C) of queries.

        Args:
            probabilities: What the language model says of them (Q, C).
            queries: Their standardized features (Q, D).
        """
        scores = ridge_scores(self.features, self.targets, queries)
        return np.exp(mixed(probabilities, scores, self.mixture)).astype(np.float32)


def flat_features(features: Clips, mean: Tensor, spread: Tensor) -> np.ndarray:
    """Return all standardized features of each clip, as a mean over time, in a row: float64 (n, D)."""
    clips = features if isinstance(features, Tensor) else torch.stack([clip.mean(dim=0) for clip in features])
    rows = (clips.double().cpu() - mean.double().cpu()) / spread.double().cpu()
    return rows.flatten(1).numpy()


def ridge_scores(enrolled: np.ndarray, targets: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the scores (Q, C) of a ridge regression from features to label distributions, with an intercept.

    It is solved in the dual, with as many unknowns as there are enrolled clips.

    Args:
        enrolled: Features (N, D).
        targets: Label distributions (N, C).
        queries: Features (Q, D).
    """
    mean = enrolled.mean(axis=0)
    rows = enrolled - mean
    size = enrolled.shape[1]
    kernel = rows @ rows.T / size
    weights = np.linalg.solve(kernel + RIDGE * np.eye(len(rows)), targets - targets.mean(axis=0))
    return SCALE * ((queries - mean) @ rows.T / size @ weights)


def mixed(probabilities: np.ndarray, scores: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Return the logarithms of mixed probabilities (n, C)."""
    logits = mixture.language * np.log(probabilities.clip(SMALLEST)) + mixture.matching * scores
    return log_softmax(logits, axis=1)


def fit_mixture(probabilities: np.ndarray, scores: np.ndarray, targets: np.ndarray) -> Mixture:
    """Return the most likely mixture, for answers to clips whose label distributions are known.

    The logarithm of the likelihood is concave in it.

    Args:
        probabilities: Of the language model (n, C).
        scores: Of the regression (n, C).
        targets: Label distributions (n, C).
    """
    logs = np.log(probabilities.clip(SMALLEST))
    prior, precision = np.array(PRIOR), np.array(PRECISION)

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        log_mixed = log_softmax(values[0] * logs + values[1] * scores, axis=1)
        errors = np.exp(log_mixed) - targets
        apart = values - prior
        loss = -(targets * log_mixed).sum() + (precision * apart**2).sum() / 2
        return loss, np.array([(errors * logs).sum(), (errors * scores).sum()]) + precision * apart

    found = minimize(objective, prior, jac=True, method="L-BFGS-B", bounds=[(0, None), (0, None)])
    return Mixture(*found.x.tolist())


def choose_mixture(
    features: np.ndarray,
    targets: np.ndarray,
    answer: Callable[[Sequence[int], Sequence[int]], np.ndarray],
    seed: int,
) -> Mixture:
    """Return the mixture that answers each part of the enrolled clips best from the other parts.

    Clips with a label that no other enrolled clip has are not answered. Where none is left, the prior's mean
    is returned.

    Args:
        features: Standardized features of the enrolled clips (N, D).
        targets: Their label distributions (N, C).
        answer: Given the indices of the clips to learn from and of those to answer, what the language model
            says of the latter (n, C).
        seed: Of the parts.
    """
    parts = stratified_parts(targets, seed)
    places: list[int] = []
    probabilities, scores = [], []
    for part in range(parts.max(initial=-1) + 1):
        learned = np.flatnonzero(parts != part)
        known = np.asarray(targets[learned].any(axis=0))
        of_part: list[int] = np.flatnonzero(parts == part).tolist()
        asked = [place for place in of_part if known[targets[place] > 0].all()]
        if not asked or known.sum() < 2:
            continue
        places += asked
        probabilities.append(answer(learned.tolist(), asked))
        scores.append(ridge_scores(features[learned], targets[learned], features[asked]))
    if not places:
        return PRIOR
    return fit_mixture(np.concatenate(probabilities), np.concatenate(scores), targets[places])


def stratified_parts(targets: np.ndarray, seed: int) -> np.ndarray:
    """Return the part of each clip (N,). The clips of a label are in as many parts as possible."""
    rng = np.random.default_rng(seed)
    parts = np.zeros(len(targets), dtype=np.int64)
    labels = targets.argmax(axis=1)
    following = 0
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        parts[places] = (following + np.arange(len(places))) % PARTS
        following += len(places)
    return parts
