"""How a training is kept safe while it goes on: options that nothing of what it makes depends on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunOptions:
    """How a training is kept safe while it goes on.

    Args:
        checkpoint_seconds: time between two checkpoints in OUT-running, or a hundred times what writing one
            takes where that is longer; 0: one after every step.
        max_bad_steps: steps with a loss or gradient that is not finite, which are skipped, that end the
            training.
    """

    checkpoint_seconds: float = 60.0
    max_bad_steps: int = 10

    def __post_init__(self) -> None:
        if self.checkpoint_seconds < 0:
            raise ValueError(f"run.checkpoint_seconds: {self.checkpoint_seconds}, give at least 0")
        if self.max_bad_steps < 1:
            raise ValueError(f"run.max_bad_steps: {self.max_bad_steps}, give at least 1")
