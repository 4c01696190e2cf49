"""For each inner step: whether its gradient is differentiated again, and how much the loss there counts.

The order follows derivative annealing (Meta-PerSER 2.3.3), the loss weights MAML++'s multi-step loss
(Antoniou et al. 2019, section 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from meta_perser.options import AnnealingOptions, MultiStepOptions

MIN_SHARE = 0.03
"""The weight of an early step never falls below this share of its even weight 1 / S (MAML++'s code)."""


@dataclass(frozen=True)
class StepSchedule:
    """The S inner steps of one outer step, s = 0 .. S - 1.

    Args:
        second_order: whether the gradient of step s is differentiated again, (S,).
        step_loss_weights: w_s, the weight of the outer loss at theta_s, before step s, (S,). The weight of
            the loss at theta_S, after the last step, is not among them.
    """

    second_order: tuple[bool, ...]
    step_loss_weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.second_order) != len(self.step_loss_weights):
            raise ValueError(
                f"{len(self.second_order)} orders but {len(self.step_loss_weights)} loss weights: "
                "give one of each for every inner step"
            )

    @classmethod
    def plain(cls, steps: int, second_order: bool = True) -> StepSchedule:
        """Return a schedule of equal steps, without multi-step loss."""
        return cls((second_order,) * steps, (0.0,) * steps)


def second_order_steps(annealing: AnnealingOptions, steps: int, progress: float) -> tuple[bool, ...]:
    """Return for each inner step whether its gradient is differentiated again, (steps,).

    `progress`: share of the outer steps that are done, 0 to 1.
    """
    if annealing.by == "inner_steps":
        first_order = first_order_steps(annealing.share, steps)
        return tuple(step >= first_order for step in range(steps))
    return (annealing.by == "off" or progress >= annealing.share,) * steps


def first_order_steps(share: float, steps: int) -> int:
    """Return how many of the inner steps are of first order: the whole number nearest to the share.

    A half is rounded down: 30% of 5 steps, 1.5, is 1. The second step lies as much behind the mark of 30% as
    before it, and the paper has first order only before it.
    """
    return math.ceil(round(share * steps - 0.5, 9))


def describe_annealing(annealing: AnnealingOptions, steps: int, outer_steps: int) -> str:
    """Return which steps are of first order, in words, for the rows of reports."""
    if annealing.by == "inner_steps":
        return f"{first_order_steps(annealing.share, steps)} of {steps} inner steps first order"
    if annealing.by == "training":
        # The same comparison as in training, for each outer step.
        first = sum(step / outer_steps < annealing.share for step in range(outer_steps))
        return f"{first} of {outer_steps} iterations first order"
    return "off"


def multi_step_weights(options: MultiStepOptions, steps: int, epoch: int) -> tuple[float, ...]:
    """Return the weights of the outer loss at theta_1 .. theta_S in outer epoch `epoch` (from 0).

    They sum to 1. All start at 1 / S. Each epoch moves the same amount from every early step to the last one.
    From `options.epochs` on, or where the option is off, only the last step counts.
    """
    if not options.enabled or epoch >= options.epochs:
        return (0.0,) * (steps - 1) + (1.0,)
    early = max(1 - epoch / options.epochs, MIN_SHARE) / steps
    return (early,) * (steps - 1) + (1 - early * (steps - 1),)
