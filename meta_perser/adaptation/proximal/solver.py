"""Solve the proximal problem of a head, and differentiate its solution.

The head reads features h (K, D) and answers z (K, C) before it is adapted. An adapted head answers

    f = (1 + u) z + h W^T + b,

and a person's (u, W, b) minimizes the cross-entropy summed over the K pairs of their support, plus
lambda_weight / 2 |W|^2 + lambda_bias / 2 |b|^2 + lambda_scale / 2 u^2. f is linear in what moves, so that the
problem is strictly convex. At its solution, with the residuals a = y - softmax(f) (K, C),

    W = a^T h / lambda_weight,    b = sum_k a_k / lambda_bias,    u = <a, z> / lambda_scale,

so that only a is unknown: f = z + S a + z <z, a> / lambda_scale with S = h h^T / lambda_weight +
1 / lambda_bias. Newton's steps solve for it, in float64, for any number of persons at once. They need the
inverse of I + H (S + z z^T / lambda_scale), where H is the Hessian of the cross-entropy by f; it comes from
one Cholesky factor (K, K) for each emotion (Rasmussen and Williams, Gaussian Processes for Machine Learning,
2006, section 3.5).

The gradient is that of the exact solution, by the implicit function theorem (iMAML, Rajeswaran et al. 2019).
iMAML's conjugate gradients are not needed here: the last step's inverse is at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MAX_STEPS = 100
TOLERANCE = 1e-9
"""Largest entry of y - softmax(f) - a that counts as solved."""

ROUNDED = 1e-5
"""Largest entry that rounding alone may leave."""

ROUNDING = 1e-12
"""By how much the objective may grow in a step, relative to itself, through rounding alone."""


@dataclass(frozen=True)
class HeadProblem:
    """The supports of P persons with equally many pairs, as the head reads them, in float64.

    Args:
        features: h, (P, K, D).
        logits: z, (P, K, C).
        targets: y, (P, K, C), rows sum to 1.
        strengths: lambda of weight, bias and scale, (3,).
    """

    features: Tensor
    logits: Tensor
    targets: Tensor
    strengths: Tensor

    def shift(self, residuals: Tensor, features: Tensor, logits: Tensor) -> Tensor:
        """Return how much adaptation changes the logits (P, Q, C) of clips with these features (P, Q, D).

        `residuals`: a, (P, K, C).
        """
        factor = self._factor(residuals).view(-1, 1, 1)
        return self.similar(features) @ residuals + factor * logits

    def similar(self, features: Tensor) -> Tensor:
        """Return how much a pair's residual changes the logits of clips with these features, (P, Q, K)."""
        weight, bias, _ = self.strengths
        return features @ self.features.transpose(1, 2) / weight + 1 / bias

    def _factor(self, residuals: Tensor) -> Tensor:
        """Return u (P,)."""
        return (self.logits * residuals).sum(dim=(1, 2)) / self.strengths[2]

    def moved(self, residuals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return W (P, C, D), b (P, C) and u (P,)."""
        weight, bias, _ = self.strengths
        return (
            residuals.transpose(1, 2) @ self.features / weight,
            residuals.sum(dim=1) / bias,
            self._factor(residuals),
        )

    def solve(self) -> Tensor:
        """Return a (P, K, C). It can be differentiated once by features, logits and strengths.

        It is NaN where features or logits are not finite, so that a training counts the step as a bad one.
        """
        if not (self.features.isfinite().all() and self.logits.isfinite().all()):
            return torch.full_like(self.logits, torch.nan)
        fixed = HeadProblem(*(tensor.detach() for tensor in vars(self).values()))
        with torch.no_grad():
            residuals, inverse = _newton(fixed)
        if not any(tensor.requires_grad for tensor in vars(self).values()):
            return residuals
        # One more step of Newton's, with the inverse held fixed: it does not change the solution, and its
        # derivative is that of the implicit function theorem.
        return residuals + inverse(self._gap(residuals))

    def _gap(self, residuals: Tensor) -> Tensor:
        """Return y - softmax(f) - a, which is 0 at the solution."""
        answers = self.logits + self.shift(residuals, self.features, self.logits)
        return self.targets - answers.softmax(dim=-1) - residuals


class _Inverse:
    """The inverse of I + H (S + z z^T / lambda_scale), as a function of (P, K, C)."""

    def __init__(self, problem: HeadProblem, similar: Tensor, probabilities: Tensor) -> None:
        self._similar = similar
        self._logits = problem.logits
        self._scale = problem.strengths[2]
        root = probabilities.transpose(1, 2).sqrt()  # (P, C, K)
        factor = torch.eye(similar.shape[-1]).to(similar) + root.unsqueeze(3) * similar.unsqueeze(
            1
        ) * root.unsqueeze(2)
        half = torch.linalg.solve_triangular(torch.linalg.cholesky(factor), root.diag_embed(), upper=False)
        self._of_emotions = half.transpose(2, 3) @ half
        self._total = torch.linalg.cholesky(self._of_emotions.sum(dim=1))
        self._pulled = self._through(self._logits)

    def __call__(self, right: Tensor) -> Tensor:
        """Return the solution x of (I + H (S + z z^T / lambda_scale)) x = right."""
        plain = right - self._through(self._similar @ right)
        onto = (self._logits * plain).sum(dim=(1, 2), keepdim=True)
        own = (self._logits * self._pulled).sum(dim=(1, 2), keepdim=True)
        return plain - self._pulled * (onto / (self._scale + own))

    def _through(self, right: Tensor) -> Tensor:
        """Return (H^-1 + S)^-1 right."""
        parts = (self._of_emotions @ right.transpose(1, 2).unsqueeze(3)).squeeze(3)
        common = torch.cholesky_solve(parts.sum(dim=1).unsqueeze(2), self._total).unsqueeze(1)
        return (parts - (self._of_emotions @ common).squeeze(3)).transpose(1, 2)


def _newton(problem: HeadProblem) -> tuple[Tensor, _Inverse]:
    """Return a, and the inverse at the solution; steps that would raise the objective are halved."""
    similar = problem.similar(problem.features)

    def objective(residuals: Tensor) -> tuple[Tensor, Tensor]:
        factor = (problem.logits * residuals).sum(dim=(1, 2), keepdim=True) / problem.strengths[2]
        shift = similar @ residuals + factor * problem.logits
        log_probabilities = (problem.logits + shift).log_softmax(dim=-1)
        value = (residuals * shift / 2 - problem.targets * log_probabilities).sum(dim=(1, 2))
        return value, log_probabilities.exp()

    residuals = torch.zeros_like(problem.targets)
    last_gap: Tensor | float = torch.inf
    value, probabilities = objective(residuals)
    for _ in range(MAX_STEPS):
        inverse = _Inverse(problem, similar, probabilities)
        gap = problem.targets - probabilities - residuals
        # With lambdas so small that rounding exceeds the tolerance, the gap stops falling before.
        largest = gap.abs().max()
        if largest < TOLERANCE or last_gap <= largest < ROUNDED:
            break
        last_gap = largest
        step = inverse(gap)
        size = torch.ones_like(value)
        while True:
            moved = residuals + size.view(-1, 1, 1) * step
            moved_value, moved_probabilities = objective(moved)
            worse = moved_value > value + ROUNDING * value.abs()
            if not worse.any() or size.min() < ROUNDING:
                break
            size = torch.where(worse, size / 2, size)
        residuals, value, probabilities = moved, moved_value, moved_probabilities
    return residuals, inverse
