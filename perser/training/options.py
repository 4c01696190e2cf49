"""Options that mean the same in every training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from perser.errors import require_package

Criterion = Literal["log_loss", "maF1"]
"""What is compared on validation episodes after adaptation; `perser.selection.validation` chooses by it."""

Tracker = Literal["none", "tensorboard", "wandb", "trackio"]


@dataclass(frozen=True)
class OptimizationOptions:
    """How long a training takes, and how fast it learns.

    Args:
        steps: optimizer steps.
        batch_size: what one step learns from, over all processes: utterances (pretrain), persons (meta-train)
            or sequences of pairs (icl-train).
        learning_rate: highest learning rate, reached after the warm-up; it then falls to zero along a cosine.
        warmup: share of the steps in which the learning rate rises from zero.
        clip_norm: longest gradient (2-norm) that is not scaled down; none: no clipping.
        validate_every: steps between two validations; the last step is always validated.
    """

    prefix: ClassVar[str] = ""
    """Comes before the names in messages, where the options are below a key of their own."""

    steps: int = 600
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup: float = 0.1
    clip_norm: float | None = 1.0
    validate_every: int = 50

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every"):
            check_at_least(self.prefix + name, getattr(self, name), 1)
        check_at_least(f"{self.prefix}learning_rate", self.learning_rate, 0)
        if not 0 <= self.warmup < 1:
            raise ValueError(f"{self.prefix}warmup: {self.warmup}, give at least 0 and less than 1")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(
                f"{self.prefix}clip_norm: {self.clip_norm}, give more than 0, or none for no clipping"
            )


@dataclass(frozen=True)
class RunOptions:
    """Checkpoints, the limit of bad steps, and the tracker. The result does not depend on them.

    Args:
        checkpoint_seconds: seconds between two checkpoints in OUT-running, but at least a hundred times as
            long as writing one takes; 0: one after every step.
        max_bad_steps: after how many steps with a loss or a gradient that is not finite the training stops
            with an error; each such step is skipped.
        tracker: where its log goes besides `metrics.jsonl`: tensorboard (into the run's folder; by the extra
            `trackers`), wandb or trackio (as project perser; by the package of that name), or none.
    """

    checkpoint_seconds: float = 60.0
    max_bad_steps: int = 10
    tracker: Tracker = "none"

    def __post_init__(self) -> None:
        check_at_least("run.checkpoint_seconds", self.checkpoint_seconds, 0)
        check_at_least("run.max_bad_steps", self.max_bad_steps, 1)
        if self.tracker != "none":
            extra = "trackers" if self.tracker == "tensorboard" else None
            require_package(self.tracker, extra, f"run.tracker: {self.tracker}")


def check_at_least(name: str, value: float | None, least: float) -> None:
    """Raise ValueError that names an option with too small a value; None, where nothing is given, is fine."""
    if value is not None and value < least:
        raise ValueError(f"{name}: {value}, give at least {least}")
