"""The proximal problem against scipy, Prior-Shift, unrolled gradient descent and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from meta_perser.adaptation.proximal.solver import TOLERANCE, HeadProblem
from perser.adjustments.recalibration import fit_bias

PAIRS, FEATURES, EMOTIONS = 7, 4, 3


def draw(persons=1, strengths=(2.0, 0.5, 3.0), pairs=PAIRS, seed=0):
    """Return a random problem in float64."""
    rng = np.random.default_rng(seed)
    return HeadProblem(
        torch.tensor(rng.standard_normal((persons, pairs, FEATURES))),
        torch.tensor(2 * rng.standard_normal((persons, pairs, EMOTIONS))),
        torch.tensor(rng.dirichlet(np.full(EMOTIONS, 0.3), size=(persons, pairs))),
        torch.tensor(strengths, dtype=torch.float64),
    )


def objective(problem, weight, bias, scale):
    """Return the loss and the penalty of one head, as the issue's formula has them."""
    strengths = problem.strengths
    answers = (1 + scale) * problem.logits[0] + problem.features[0] @ weight.T + bias
    cross_entropy = -(problem.targets[0] * answers.log_softmax(dim=-1)).sum()
    penalties = torch.stack([weight.square().sum(), bias.square().sum(), scale.square().sum()])
    return cross_entropy + (strengths * penalties).sum() / 2


def unrolled(problem, steps=1200, rate=0.04):
    """Return what plain gradient descent converges to, with the graph of every step."""
    kind = {"dtype": torch.float64}
    moved = [torch.zeros(EMOTIONS, FEATURES, **kind), torch.zeros(EMOTIONS, **kind), torch.zeros((), **kind)]
    moved = [tensor.requires_grad_() for tensor in moved]
    for _ in range(steps):
        gradients = torch.autograd.grad(objective(problem, *moved), moved, create_graph=True)
        moved = [tensor - rate * gradient for tensor, gradient in zip(moved, gradients, strict=True)]
    return moved


def query_loss(problem, weight, bias, scale):
    """Return a loss on other clips, whose answers depend on nothing but what moved."""
    rng = np.random.default_rng(1)
    features = torch.tensor(rng.standard_normal((5, FEATURES)))
    logits = torch.tensor(rng.standard_normal((5, EMOTIONS)))
    answers = (1 + scale) * logits + features @ weight.T + bias
    return -answers.log_softmax(dim=-1)[:, 0].sum()


def solved_loss(problem):
    return query_loss(problem, *(part[0] for part in problem.moved(problem.solve())))


@pytest.mark.parametrize("strengths", [(2.0, 0.5, 3.0), (0.05, 0.05, 0.05), (100.0, 1e-3, 1e4)])
def test_the_solution_is_the_minimum_that_scipy_finds(strengths):
    problem = draw(strengths=strengths)
    features, logits, targets, _ = (tensor.numpy()[0] for tensor in vars(problem).values())

    def value(vector):
        weight = vector[: EMOTIONS * FEATURES].reshape(EMOTIONS, FEATURES)
        bias, scale = vector[EMOTIONS * FEATURES : -1], vector[-1]
        answers = (1 + scale) * logits + features @ weight.T + bias
        penalties = np.array([(weight**2).sum(), (bias**2).sum(), scale**2])
        return -(targets * log_softmax(answers, axis=1)).sum() + (strengths * penalties).sum() / 2

    start = np.zeros(EMOTIONS * FEATURES + EMOTIONS + 1)
    found = minimize(value, start, method="BFGS", options={"gtol": 1e-7, "maxiter": 10_000})
    weight, bias, scale = problem.moved(problem.solve())
    ours = torch.cat([weight.flatten(), bias.flatten(), scale]).numpy()
    assert value(ours) <= found.fun + 1e-9
    np.testing.assert_allclose(ours, found.x, atol=2e-3)


def test_prior_shift_is_the_limit_of_large_lambdas():
    problem = draw(strengths=(1e14, 0.7, 1e14))
    weight, bias, scale = problem.moved(problem.solve())
    expected = fit_bias(problem.logits[0].numpy(), problem.targets[0].numpy(), 0.7)
    np.testing.assert_allclose(bias[0].numpy(), expected, atol=1e-8)
    assert weight.abs().max() < 1e-10
    assert scale.abs().max() < 1e-10


def test_gradients_are_those_of_gradient_descent_run_to_convergence():
    problem = draw()
    leaves = [problem.features, problem.logits, problem.strengths]
    for leaf in leaves:
        leaf.requires_grad_()
    implicit = torch.autograd.grad(solved_loss(problem), leaves)
    expected = torch.autograd.grad(query_loss(problem, *unrolled(problem)), leaves)
    for ours, theirs in zip(implicit, expected, strict=True):
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


@pytest.mark.parametrize("part", ["features", "logits", "strengths"])
def test_gradients_are_finite_differences(part):
    problem = draw()
    leaf = getattr(problem, part).requires_grad_()
    (gradient,) = torch.autograd.grad(solved_loss(problem), leaf)
    step = 1e-5
    with torch.no_grad():
        expected = torch.empty_like(gradient)
        flat = leaf.view(-1)
        for place in range(flat.numel()):
            values = []
            for move in (step, -step):
                flat[place] += move
                values.append(solved_loss(problem))
                flat[place] -= move
            expected.view(-1)[place] = (values[0] - values[1]) / (2 * step)
    assert (gradient - expected).norm() <= 1e-5 * expected.norm()


def test_persons_solved_together_are_solved_as_alone():
    together = draw(persons=5)
    residuals = together.solve()
    for person in range(5):
        alone = HeadProblem(
            *(tensor[person : person + 1] for tensor in list(vars(together).values())[:3]), together.strengths
        )
        np.testing.assert_allclose(residuals[person].numpy(), alone.solve()[0].numpy(), atol=1e-8)


@pytest.mark.parametrize("strengths", [(1e-6, 1e-6, 1e-6), (1e12, 1e12, 1e12), (1e-3, 1e9, 1e-3)])
@pytest.mark.parametrize("pairs", [1, 2, 60])
def test_extreme_strengths_and_supports_are_solved_too(strengths, pairs):
    problem = draw(strengths=strengths, pairs=pairs)
    one_emotion = torch.zeros_like(problem.targets)
    one_emotion[..., 1] = 1.0
    for targets in (problem.targets, one_emotion):
        case = HeadProblem(problem.features, 10 * problem.logits, targets, problem.strengths)
        residuals = case.solve()
        answers = case.logits + case.shift(residuals, case.features, case.logits)
        gap = case.targets - answers.softmax(dim=-1) - residuals
        # Of a shift that adds up K products with S, float64 keeps its share of the largest.
        largest = case.features.square().sum(dim=-1).max() / strengths[0] + 1 / strengths[1]
        rounding = pairs * torch.finfo(torch.float64).eps * (largest + case.logits.abs().max() / strengths[2])
        assert gap.abs().max() < 10 * TOLERANCE + 10 * rounding


def test_answers_that_are_not_finite_give_nan_instead_of_an_exception():
    problem = draw()
    problem.logits[0, 0, 0] = torch.nan
    assert problem.solve().isnan().all()
