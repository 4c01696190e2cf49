"""Learned learning rates, one per parameter tensor and inner step (LSLR: MAML++, Antoniou et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LearnedRates(nn.Module):
    """Rates alpha[tensor, step], all started at one value; without a sign constraint, so that a rate may
    turn into a direction. A step beyond the last learned one takes the last learned rate.

    Args:
        names: the parameter tensors that move.
        steps: how many inner steps are learned.
        initial: the value that every rate starts at.
    """

    def __init__(self, names: Sequence[str], steps: int, initial: float) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps: {steps}, learned rates need at least one inner step")
        self.names = list(names)
        self.rates = nn.Parameter(torch.full((len(self.names), steps), float(initial)))

    def at(self, step: int) -> dict[str, Tensor]:
        """Name to rate (a scalar tensor) of inner step `step`, from 0."""
        column = self.rates[:, min(step, self.rates.shape[1] - 1)]
        return dict(zip(self.names, column.unbind(), strict=True))


class ConstantRate(nn.Module):
    """One rate for every tensor and step: plain gradient descent."""

    def __init__(self, names: Sequence[str], rate: float) -> None:
        super().__init__()
        self.names = list(names)
        self.register_buffer("rate", torch.tensor(float(rate)))

    def at(self, step: int) -> dict[str, Tensor]:
        """Name to rate, the same at every step."""
        return dict.fromkeys(self.names, self.rate)
