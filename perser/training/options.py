"""How a training is kept safe and looked at while it goes on: nothing of what it makes depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from perser.errors import require_package

Tracker = Literal["none", "tensorboard", "wandb", "trackio"]


@dataclass(frozen=True)
class RunOptions:
    """How a training is kept safe and looked at while it goes on.

    Args:
        checkpoint_seconds: time between two checkpoints in OUT-running, or a hundred times what writing one
            takes where that is longer; 0: one after every step.
        max_bad_steps: steps with a loss or gradient that is not finite, which are skipped, that end the
            training.
        tracker: where its log goes besides `metrics.jsonl`: tensorboard (into the run's folder; by the extra
            `trackers`), wandb or trackio (as project perser; by the package of that name), or none.
    """

    checkpoint_seconds: float = 60.0
    max_bad_steps: int = 10
    tracker: Tracker = "none"

    def __post_init__(self) -> None:
        if self.checkpoint_seconds < 0:
            raise ValueError(f"run.checkpoint_seconds: {self.checkpoint_seconds}, give at least 0")
        if self.max_bad_steps < 1:
            raise ValueError(f"run.max_bad_steps: {self.max_bad_steps}, give at least 1")
        if self.tracker != "none":
            extra = "trackers" if self.tracker == "tensorboard" else None
            require_package(self.tracker, extra, f"run.tracker: {self.tracker}")
