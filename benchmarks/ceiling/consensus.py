"""The consensus: what the answers to an utterance say of further answers, and the best that can be predicted.

The shares of an utterance's emotions are drawn from a Dirichlet distribution, fitted to all utterances by
maximum likelihood, and its answers from these shares. After the answers that were seen, the next R answers
have a Dirichlet-multinomial distribution. The observed shares alone would be too optimistic (winner's curse):
the emotion that was given most was in part given most by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from benchmarks.ceiling.answers import Answers
from benchmarks.ceiling.intervals import mean_over_utterances

MAJORITIES = (1, 3, 5, 10, 15, 20, 31)
"""Numbers of listeners R whose majority is to be predicted."""

FOLDS = 5

DRAWS = 600_000
"""Majorities that are drawn for each R, over all utterances together; at least one each."""

MOST_DRAWS = 2_000
"""Of one utterance."""

SMALLEST, LARGEST = 1e-3, 1e4
"""Bounds of the parameters of a Dirichlet distribution."""


def fit_dirichlet(votes: np.ndarray) -> np.ndarray:
    """Return the Dirichlet parameters (C,) that make these votes (num_utterances, C) most probable."""
    patterns, times = np.unique(votes, axis=0, return_counts=True)
    sizes = patterns.sum(axis=1)

    def loss(log_alpha: np.ndarray) -> tuple[float, np.ndarray]:
        alpha = np.exp(log_alpha)
        total = alpha.sum()
        value = gammaln(total) - gammaln(total + sizes) + (gammaln(alpha + patterns) - gammaln(alpha)).sum(1)
        slope = digamma(total) - digamma(total + sizes)
        slopes = slope[:, None] + digamma(alpha + patterns) - digamma(alpha)
        return -(times @ value) / times.sum(), -alpha * (times @ slopes) / times.sum()

    bounds = [(np.log(SMALLEST), np.log(LARGEST))] * votes.shape[1]
    return np.exp(minimize(loss, np.zeros(votes.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B").x)


def others_shares(answers: Answers, halves: np.random.Generator | None = None) -> tuple[np.ndarray, float]:
    """Return, for each answer, the shares of emotions that the others' answers let expect.

    They are the mean of the Dirichlet distribution after the answers of all others to the utterance, float64
    (num_answers, C). Also returns how many others there are on average. With `halves`, the answers to each
    utterance are divided at random, and the others are those in the other half.
    """
    number = 2 * answers.utterance
    if halves is not None:
        order = np.lexsort((halves.random(len(number)), answers.utterance))
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        number = number + place % 2
    votes = np.zeros((2 * answers.num_utterances, len(answers.emotions)))
    np.add.at(votes, number, answers.distributions)
    seen = votes[number] - answers.distributions if halves is None else votes[number ^ 1]
    expected = seen + fit_dirichlet(answers.votes)
    return expected / expected.sum(axis=1, keepdims=True), float(seen.sum(axis=1).mean())


def measure_ceiling(
    answers: Answers, majorities: Sequence[int] = MAJORITIES, seed: int = 0
) -> dict[str, Any]:
    """Return the consensus ceiling by R: the best accuracy that can be expected against R other listeners.

    Of each utterance, the emotion is guessed that is most probably given most by R further listeners. The
    distribution is fitted on other utterances than those that it is used for (cross-fitted). Ties are broken
    at random. Beside it are two other figures: `naive` takes the observed shares for the true ones,
    `known_shares` is for somebody who knows the true shares, if the fitted distribution is right.
    """
    rng = np.random.default_rng(seed)
    votes = answers.votes
    fold = rng.permutation(len(votes)) % min(FOLDS, len(votes))
    posterior = votes.copy()
    for number in range(fold.max() + 1):
        rest = votes[fold != number] if (fold != number).any() else votes
        posterior[fold == number] += fit_dirichlet(rest)
    draws = int(np.clip(DRAWS // len(votes), 1, MOST_DRAWS))
    return {str(size): _ceiling(votes, posterior, size, draws, rng) for size in majorities}


def _ceiling(
    votes: np.ndarray, posterior: np.ndarray, size: int, draws: int, rng: np.random.Generator
) -> dict[str, float]:
    """Return the ceiling against a majority of `size` listeners, averaged over so many draws.

    The emotion with the largest parameter is also the most probable majority, so that no maximum is taken
    over figures that were drawn.
    """
    guess, rows = posterior.argmax(axis=1), np.arange(len(votes))
    hits, known, naive = np.zeros(len(votes)), 0.0, 0.0
    observed = votes / votes.sum(axis=1, keepdims=True)
    for _ in range(draws):
        shares = rng.standard_gamma(posterior)
        shares /= shares.sum(axis=1, keepdims=True)
        given_most = _majority(shares, size, rng)
        hits += given_most[rows, guess]
        known += given_most[rows, shares.argmax(axis=1)].mean()
        naive += _majority(observed, size, rng)[rows, observed.argmax(axis=1)].mean()
    content = mean_over_utterances(hits / draws).as_json()
    return content | {"known_shares": known / draws, "naive": naive / draws}


def _majority(shares: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `size` answers to each utterance, and return the emotions given most, each row summing to 1."""
    counts = rng.multinomial(size, shares)
    most = counts == counts.max(axis=1, keepdims=True)
    return most / most.sum(axis=1, keepdims=True)
