"""The strengths lambda of the proximal penalty: how strongly each part of the head is held to its start."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

PARTS = ("weight", "bias", "scale")
"""The parts of the classifier that move: its weight, its bias, and both together by one factor."""

START_SHARE = 0.01
"""How much, at the start of meta-training, weight and scale may each vary the logits beside the bias: as a
share of the variance that the penalty gives the bias. So the start is Prior-Shift, up to this share."""


class Strengths(nn.Module):
    """One positive lambda for each of `PARTS`, learned on a log scale.

    The larger it is, the less its part moves. A lambda is the precision of a normal prior, because the loss
    that it is weighed against is a sum over the support, not a mean: one lambda fits supports of any size.
    """

    def __init__(self, initial: Tensor | None = None) -> None:
        super().__init__()
        initial = torch.ones(len(PARTS)) if initial is None else initial
        self.log_strengths = nn.Parameter(initial.to(torch.get_default_dtype()).log())

    @classmethod
    def like_prior_shift(cls, strength: float, features: Tensor, logits: Tensor) -> Strengths:
        """Return lambdas with which the solution is Prior-Shift's, up to `START_SHARE`.

        Args:
            strength: of Prior-Shift, which becomes the bias's lambda.
            features: what the classifier reads of some utterances, (N, D).
            logits: what it answers, (N, C).
        """
        weight = features.double().square().sum(dim=1).mean().item()
        scale = logits.double().square().mean().item()
        held = strength / START_SHARE
        return cls(torch.tensor([held * max(weight, 1e-6), strength, held * max(scale, 1e-6)]))

    def forward(self) -> Tensor:
        """Return lambda of each of `PARTS`, (3,), in float64."""
        return self.log_strengths.double().exp()

    def describe(self) -> str:
        """Return the lambdas as reports print them."""
        values = zip(PARTS, self.log_strengths.tolist(), strict=True)
        return ", ".join(f"{part} {math.exp(value):.3g}" for part, value in values)
