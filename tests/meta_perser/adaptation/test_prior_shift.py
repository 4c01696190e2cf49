"""Prior-Shift: the fitted bias against a general optimizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from meta_perser.adaptation.prior_shift import fit_bias


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
def test_the_bias_is_the_minimum_found_by_scipy(strength):
    rng = np.random.default_rng(0)
    logits = 2 * rng.standard_normal((32, 6))
    targets = rng.dirichlet(np.full(6, 0.3), size=32)

    def objective(bias):
        return -(targets * log_softmax(logits + bias, axis=1)).sum() + strength / 2 * (bias**2).sum()

    expected = minimize(objective, np.zeros(6), method="BFGS", options={"gtol": 1e-8}).x
    bias = fit_bias(torch.tensor(logits), torch.tensor(targets), strength)
    np.testing.assert_allclose(bias.numpy(), expected, atol=1e-4)


def test_a_support_with_a_single_emotion_gives_a_finite_bias():
    targets = torch.zeros(4, 3)
    targets[:, 1] = 1.0
    bias = fit_bias(torch.zeros(4, 3), targets, 0.1)
    assert bias.isfinite().all()
    assert bias.argmax() == 1
