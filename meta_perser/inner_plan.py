"""What every way of running the inner loop is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Weights = dict[str, Tensor]
WeightsLoss = Callable[[Weights], Tensor]
"""The moving weights, by name, to a scalar loss on one person's examples."""


@dataclass(frozen=True)
class InnerPlan:
    """Step by step, S of each.

    Args:
        second_order: whether the gradient of step s is differentiated again.
        path_weights: how much the loss at theta_s (before step s) adds to the loss on the way.
    """

    second_order: tuple[bool, ...]
    path_weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.second_order) != len(self.path_weights):
            raise ValueError(f"{len(self.second_order)} orders and {len(self.path_weights)} weights of steps")

    @classmethod
    def plain(cls, steps: int, second_order: bool = True) -> InnerPlan:
        """All steps alike, and no loss on the way."""
        return cls((second_order,) * steps, (0.0,) * steps)
