"""MAML++'s multi-step loss: how much the loss after each inner step counts (Antoniou et al. 2019)."""

from __future__ import annotations

from meta_perser.options import MultiStepOptions

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
