"""What every way of running the inner loop is told.

Derivative annealing (Meta-PerSER 2.3.3): which inner steps are differentiated twice.

MAML++'s multi-step loss: how much the loss after each inner step counts (Antoniou et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from meta_perser.options import AnnealingOptions, MultiStepOptions

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


def second_order_steps(annealing: AnnealingOptions, steps: int, progress: float) -> tuple[bool, ...]:
    """For each of `steps` inner steps, whether its gradient is differentiated again.

    `progress`: the share of outer iterations that lie behind, 0 to 1. A share of the inner steps is rounded
    to whole ones.
    """
    if annealing.by == "inner_steps":
        first_order = round(annealing.share * steps)
        return tuple(step >= first_order for step in range(steps))
    return (annealing.by == "off" or progress >= annealing.share,) * steps


SMALLEST_SHARE = 0.03
"""What is left to an early step before the schedule ends, of an even share (MAML++'s code)."""


def multi_step_weights(options: MultiStepOptions, steps: int, epoch: int) -> tuple[float, ...]:
    """Weights of the losses at theta_1 .. theta_S, summing to 1, in outer epoch `epoch` (from 0).

    Even at first; each epoch takes the same amount from every step but the last and gives it to the last.
    From `options.epochs` on, or where the option is off, the last step's loss is alone.
    """
    if not options.enabled or epoch >= options.epochs:
        return (0.0,) * (steps - 1) + (1.0,)
    early = max(1 - epoch / options.epochs, SMALLEST_SHARE) / steps
    return (early,) * (steps - 1) + (1 - early * (steps - 1),)
