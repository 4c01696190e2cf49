"""Shares are drawn from their distribution given the votes."""

from __future__ import annotations

import numpy as np

from perser.corpora.listeners.shares import SharesPrior

PRIOR = SharesPrior(np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([4.0, 10.0]))


def test_votes_and_prior_count_together():
    votes = np.tile([[3.0, 1.0]], (20_000, 1))
    for meant in (0, 1):
        shares = PRIOR.draw(votes, [meant] * len(votes), np.random.default_rng(0))
        counts = votes[0] + PRIOR.concentration[meant] * PRIOR.mean[meant]
        total = counts.sum()
        np.testing.assert_allclose(shares.mean(axis=0), counts / total, atol=0.01)
        variance = counts * (total - counts) / (total**2 * (total + 1))
        np.testing.assert_allclose(shares.var(axis=0), variance, rtol=0.05)


def test_many_votes_decide_alone():
    shares = PRIOR.draw(np.array([[1e6, 0.0]]), [1], np.random.default_rng(0))
    np.testing.assert_allclose(shares, [[1, 0]], atol=1e-4)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
