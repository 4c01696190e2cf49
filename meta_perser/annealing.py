"""Derivative annealing (Meta-PerSER 2.3.3): which inner steps are differentiated twice."""

from __future__ import annotations

from meta_perser.options import AnnealingOptions


def second_order_steps(annealing: AnnealingOptions, steps: int, progress: float) -> tuple[bool, ...]:
    """For each of `steps` inner steps, whether its gradient is differentiated again.

    `progress`: the share of outer iterations that lie behind, 0 to 1. A share of the inner steps is rounded
    to whole ones.
    """
    if annealing.by == "inner_steps":
        first_order = round(annealing.share * steps)
        return tuple(step >= first_order for step in range(steps))
    return (annealing.by == "off" or progress >= annealing.share,) * steps
