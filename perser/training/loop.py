"""The training loop. A training gives `fit` a step and a validation; `fit` does everything else.

def step(number: int) -> tuple[float, list[StepPart]]: ...  # adds up the gradient, returns the loss
def validate() -> Validation: ...

options = LoopOptions(steps=1000, validate_every=50)
result = fit(training_run, "pretrain", model, optimizer, step, validate, options)
result.best.restore(model)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from perser.progress import progress_bar
from perser.training.checkpoint import BestWeights, TrainingState
from perser.training.nonfinite import StepPart
from perser.training.run import TrainingRun
from perser.training.sharding import unshard, unsharded_weights

Step = Callable[[int], tuple[float, Sequence[StepPart]]]
"""Add up the gradient of a step (counted from 1) and return its loss, the same in every process, and what
this process read for it."""


@dataclass(frozen=True)
class Validation:
    """What one validation measured.

    Args:
        score: higher is better; the weights with the highest score are kept.
        values: what is logged, by name (without `validation_`).
    """

    score: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class LoopOptions:
    """How long a loop runs, and when it validates.

    Args:
        steps: optimizer steps.
        validate_every: steps between two validations; the last step is always validated.
        clip_norm: longest gradient (2-norm) that is not scaled down; None: no clipping.
        patience: validations in a row without a better score that end the loop; None: all steps are taken.
        validate_first: whether the start is validated too, as step 0.
        unsharded_validation: whether sharded weights are gathered in full for validation.
    """

    steps: int
    validate_every: int
    clip_norm: float | None = None
    patience: int | None = None
    validate_first: bool = False
    unsharded_validation: bool = True


@dataclass(frozen=True)
class Display:
    """What the progress bar shows.

    Args:
        title: text before the bar.
        unit: what is counted.
        units_per_step: how many of those one step has.
    """

    title: str
    unit: str = "it"
    units_per_step: int = 1


@dataclass(frozen=True)
class FitResult:
    """What a loop found: the best weights, and every validation with its step and the training loss there."""

    best: BestWeights
    history: list[dict[str, float]]


def fit(
    training_run: TrainingRun,
    stage: str,
    module: nn.Module,
    optimizer: Optimizer,
    step: Step,
    validate: Callable[[], Validation],
    options: LoopOptions,
    *,
    schedule: LRScheduler | None = None,
    trained: nn.Module | None = None,
    generators: Mapping[str, np.random.Generator] | None = None,
    after_validation: Callable[[BestWeights, int, Validation], None] | None = None,
    display: Display | None = None,
) -> FitResult:
    """Train a module in place, from the run's checkpoint if it has one of this stage.

    The module is left at its last step, with whole weights; `FitResult.best.restore` puts the best ones back.

    Args:
        training_run: where checkpoints and logs go; it also skips steps that are not finite and stops on
            SIGTERM, SIGHUP and Ctrl-C.
        stage: name of the loop in the log and in checkpoints.
        module: the module to train; its weights with the best score are kept.
        optimizer: of the module's weights; make it after the module was wrapped.
        step: one training step.
        validate: one validation; every process must find the same.
        options: how long, and how often to validate.
        schedule: of the learning rates.
        trained: the module as the accelerator wrapped it; None: `module` itself, the same in every process.
        generators: NumPy generators that `step` draws from, by name; their state is part of a checkpoint.
        after_validation: called in the main process after each validation, with the best so far, the step and
            what it measured.
        display: of the progress bar.

    Raises UserError after too many steps that are not finite; SystemExit after such a signal.
    """
    if trained is None:
        trained = module
    else:  # not the schedule: a prepared one would advance once for every process
        optimizer = training_run.accelerator.prepare(optimizer)
    display = display or Display(stage)
    best, counters = BestWeights(), dict[str, Any]()
    state = TrainingState(module, optimizer, schedule, best, generators or {}, counters)

    def validated(number: int, loss: float | None) -> Validation:
        whole = unsharded_weights(trained) if options.unsharded_validation else nullcontext()
        with whole:
            found = validate()
            is_best = best.offer(found.score, number, module)
            counters["validations_since_best"] = 0 if is_best else counters["validations_since_best"] + 1
            if loss is not None:
                counters["history"].append({"step": number, "train_loss": loss} | dict(found.values))
            if after_validation is not None and training_run.accelerator.is_main_process:
                after_validation(best, number, found)
        return found

    with training_run.stage(stage, state, trained, options.clip_norm) as current:
        _start_counting(counters)
        if options.validate_first and not current.done:
            training_run.record(stage, 0, _logged(validated(0, None)))
        with progress_bar(
            options.steps, display.title, current.done, display.unit, display.units_per_step
        ) as bar:
            for number in range(current.done + 1, options.steps + 1):
                if counters["validations_since_best"] == options.patience:
                    break
                loss, parts = step(number)
                current.update(number, loss, parts)
                bar.update()
                found = {}
                if number % options.validate_every == 0 or number == options.steps:
                    found = _logged(validated(number, loss))
                    bar.set_postfix(loss=f"{loss:.3f}", best_validation=f"{best.score:.3f}")
                current.end_step(number, **found)
    unshard(trained)
    return FitResult(best, counters["history"])


def _start_counting(counters: dict[str, Any]) -> None:
    """Add what a checkpoint did not bring; version 0.1.0 called one of them by another name."""
    counters.setdefault("history", [])
    counters.setdefault("validations_since_best", counters.pop("looks_since_best", 0))


def _logged(found: Validation) -> dict[str, float]:
    return {f"validation_{name}": value for name, value in found.values.items()}


class ShuffledBatches:
    """Batches of indices in random order, every index once an epoch, by the number of the step.

    The order depends on the seed alone, so that a resumed training meets the same batches. The last batch of
    an epoch may be smaller.

    Args:
        count: how many indices there are.
        size: of a batch.
        seed: of the order.
    """

    def __init__(self, count: int, size: int, seed: int) -> None:
        self._count = count
        self._size = size
        self._generator = torch.Generator().manual_seed(seed)
        self._epoch = -1
        self._batches: Sequence[Tensor] = ()
        self.steps_per_epoch = -(-count // size)

    def at(self, step: int) -> list[int]:
        """Return the batch of a step, counted from 1. Steps may be skipped, but never go back by an epoch."""
        epoch, place = divmod(step - 1, self.steps_per_epoch)
        while self._epoch < epoch:
            self._batches = torch.randperm(self._count, generator=self._generator).split(self._size)
            self._epoch += 1
        return self._batches[place].tolist()
