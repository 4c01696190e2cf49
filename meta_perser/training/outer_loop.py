"""The outer loop of MAML: follow the mean over listeners of L(theta_i, T_i) to theta and the learned rates
(Meta-PerSER 2.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from meta_perser.adaptation.adaptation_loss import LossFunction, loss_on, with_macro_f1
from meta_perser.adaptation.inner_loop import adapt, inner_loop
from meta_perser.adaptation.lslr import Rates
from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.adaptation.proximal.strengths import Strengths
from meta_perser.adaptation.step_schedule import StepSchedule, multi_step_weights, second_order_steps
from meta_perser.options import AnnealingOptions, InnerOptions, Memory, MultiStepOptions, OuterOptions, Update
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.recognizer.head import is_of_head
from meta_perser.recognizer.model import EmotionRecognizer
from meta_perser.training.proximal_learner import ProximalLearner, check_proximal
from perser.distributed import mean_over_processes, own_share_of_batch
from perser.episodes.episode import Episode, Task
from perser.errors import UserError
from perser.labels import Emotions
from perser.selection.validation import validate as validate_on
from perser.training.accelerator import cosine_schedule, wrap_for_training
from perser.training.checkpoint import BestWeights
from perser.training.loop import Display, LoopOptions, Validation, fit
from perser.training.nonfinite import StepPart
from perser.training.options import Criterion
from perser.training.run import TrainingRun

STAGE = "meta-train"

RATES_EPSILON = 1e-14
"""Adam's epsilon for the learned rates."""

Examples = tuple[ClipBatch, Tensor]
"""Clips, and their target distributions (B, num_emotions)."""
Pairs = tuple[tuple[str, ...], tuple[Emotions, ...]]
"""Utterance ids and, aligned with them, what one listener heard in each."""


class MetaLearner(nn.Module):
    """The recognizer and its rates. A forward pass runs one person's inner loop and returns the outer loss.

    All of it is one module's forward pass so that DistributedDataParallel sees every gradient.
    """

    def __init__(
        self,
        model: EmotionRecognizer,
        rates: Rates,
        loss: LossFunction,
        memory: Memory = "unroll",
        update: Update = "maml",
        clips_at_once: int | None = None,
        f1_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.rates = rates
        self._loss = loss
        self._query_loss = with_macro_f1(loss, f1_weight)
        self._memory: Memory = memory
        self._update: Update = update
        self._clips_at_once = clips_at_once

    def forward(
        self, schedule: StepSchedule, final_weight: float, support: Examples, query: Examples | None = None
    ) -> Tensor:
        """Return sum_s schedule.step_loss_weights[s] * W(theta_s) + final_weight * W(theta_S).

        W is the loss on the support (combined-set meta-training, 2.3.2), which the inner loop has computed
        already, or the loss on a separate query (classic MAML), plus `f1_weight` times 1 minus the smooth
        macro-F1. Under Reptile the value is W(theta_S), and the gradient theta - theta_S.
        """
        if self._update == "reptile":
            return self._reptile(len(schedule.step_loss_weights), support)
        of_model = partial(loss_on, self.model, clips_at_once=self._clips_at_once)
        support_loss = of_model(self._loss, *support)
        first_order_loss = of_model(self._loss, *support, attention="sdpa")
        query_loss = None if query is None else of_model(self._query_loss, *query, attention="sdpa")
        adapted, path = inner_loop(
            support_loss,
            dict(self.model.trainable_parameters()),
            self.rates.table(len(schedule.step_loss_weights)),
            schedule,
            query_loss,
            self._memory,
            first_order_loss,
        )
        return path + final_weight * (query_loss or first_order_loss)(adapted)

    def _reptile(self, steps: int, support: Examples) -> Tensor:
        """Return the loss at theta_S as a scalar whose gradient is theta - theta_S."""
        moving = self.model.trainable_parameters()
        adapted = adapt(self.model, self.rates, *support, self._loss, steps)
        with torch.no_grad():
            reached = loss_on(self.model, self._loss, *support, attention="sdpa")(adapted)
        distances = ((moving[name] - end).square().sum() for name, end in adapted.items())
        apart = sum(distances, start=reached.new_zeros(()))
        return reached + 0.5 * (apart - apart.detach())


@dataclass(frozen=True)
class OuterLoop:
    """How `perser meta-train` trains; the fields are its options of the same names."""

    inner: InnerOptions = field(default_factory=InnerOptions)
    outer: OuterOptions = field(default_factory=OuterOptions)
    csmt: bool = True
    derivative_annealing: AnnealingOptions = field(default_factory=AnnealingOptions)
    multi_step_loss: MultiStepOptions = field(default_factory=MultiStepOptions)
    seed: int = 0
    selection: Criterion = "log_loss"
    fresh_head: bool = False
    """Whether the head has not been trained before (`init: encoder`)."""

    def __post_init__(self) -> None:
        if self.csmt and self.inner.query is not None:
            raise UserError("inner.query: with csmt the outer loss is on the support: leave inner.query out")
        if self.outer.update == "reptile" and not (self.csmt and not self.multi_step_loss.enabled):
            raise UserError("outer.update: reptile has no outer loss: give csmt: true and no multi_step_loss")
        if self.outer.f1_weight and self.csmt:
            raise UserError(
                "outer.f1_weight: with csmt there is no query: give csmt: false, or outer.f1_weight: 0"
            )
        if self.outer.f1_weight and self.inner.clips_at_once is not None:
            raise UserError("outer.f1_weight: F1 is of all queries at once: leave inner.clips_at_once out")
        if self.inner.solver == "proximal":
            check_proximal(self.csmt, self.derivative_annealing, self.multi_step_loss)

    def train(
        self,
        trained: MetaPerSER,
        source: ClipSource,
        tasks: Sequence[Task],
        validation: Sequence[Episode],
        accelerator: Accelerator,
        after_validation: Callable[[BestWeights, int, Validation], None] | None = None,
        training_run: TrainingRun | None = None,
        weights: np.ndarray | None = None,
    ) -> tuple[BestWeights, MetaLearner | ProximalLearner]:
        """Train in place, to the last step or until patience is out, and return the best weights.

        `trained` is left at its last step. The second value is the module that `BestWeights.restore` takes.

        Args:
            trained: what is trained.
            source: reads the clips.
            tasks: the training persons; `check` must have found their examples to be enough.
            validation: episodes whose scores after adaptation choose the best step.
            accelerator: of the training.
            after_validation: called in the main process after each validation.
            training_run: where it logs, and goes on from a checkpoint; None: nowhere.
            weights: how likely each training person is to be drawn; None: all equally.
        """
        outer = self.outer
        learner = self._learner(trained)
        wrapped = wrap_for_training(learner, accelerator)
        optimizer = self._optimizer(learner)
        schedule = cosine_schedule(optimizer, outer.steps, outer.warmup) if outer.cosine else None
        rng = np.random.default_rng([self.seed, 0])

        def validate() -> Validation:
            # The same in every process, so that all of them stop together.
            personalizer = trained.personalizer(source)
            return validate_on(personalizer, validation, trained.model.emotions, self.selection)

        def step(number: int) -> tuple[float, list[StepPart]]:
            return self._add_gradients(
                wrapped, source, trained.model, tasks, rng, number, accelerator, weights
            )

        result = fit(
            training_run or TrainingRun(accelerator),
            STAGE,
            learner,
            optimizer,
            step,
            validate,
            LoopOptions(
                outer.steps, outer.validate_every, outer.clip_norm, outer.patience, validate_first=True
            ),
            schedule=schedule,
            trained=wrapped,
            generators={"sampler": rng},
            after_validation=after_validation,
            display=Display(STAGE, " episodes", min(self.outer.batch_size, len(tasks))),
        )
        return result.best, learner

    def _learner(self, trained: MetaPerSER) -> MetaLearner | ProximalLearner:
        """Return the module whose forward pass is one person's outer loss."""
        if isinstance(trained.rates, Strengths):
            return ProximalLearner(
                trained.model, trained.rates, trained.label_smoothing, self.outer.f1_weight
            )
        return MetaLearner(
            trained.model,
            trained.rates,
            trained.loss,
            self.inner.memory,
            self.outer.update,
            self.inner.clips_at_once,
            self.outer.f1_weight,
        )

    def check(self, tasks: Sequence[Task]) -> None:
        """Raise UserError, naming the key, where a person has too few examples."""
        if self.csmt:
            return
        needed = self.inner.support + self._query_size()
        for task in tasks:
            if len(task.utterances) < needed:
                raise UserError(
                    f"inner.query: {self.inner.support} + {self._query_size()} examples a listener are more "
                    f"than '{task.person}' has ({len(task.utterances)}): lower inner.support or inner.query"
                )

    def step_schedule(self, step: int, persons: int) -> tuple[StepSchedule, float]:
        """Return the order and loss weight of each inner step in this outer step, and the weight of the loss
        at theta_S.

        Args:
            step: outer step, counted from 1.
            persons: how many training persons there are.
        """
        inner_steps, done = self.inner.steps, step - 1
        epoch = done // -(-persons // min(self.outer.batch_size, persons))
        *early, final = multi_step_weights(self.multi_step_loss, inner_steps, epoch)
        orders = second_order_steps(self.derivative_annealing, inner_steps, done / self.outer.steps)
        return StepSchedule(orders, (0.0, *early)), final

    def _add_gradients(
        self,
        wrapped: nn.Module,
        source: ClipSource,
        model: EmotionRecognizer,
        tasks: Sequence[Task],
        rng: np.random.Generator,
        step: int,
        accelerator: Accelerator,
        weights: np.ndarray | None,
    ) -> tuple[float, list[StepPart]]:
        """Add up the outer gradient of a step; return the persons' mean outer loss and what this process
        read.

        Every process draws the same persons and examples, and takes its share of the persons, so that the sum
        does not depend on how many processes there are, nor on how evenly the persons divide.
        """
        takes_steps = self.inner.solver == "steps"
        schedule = self.step_schedule(step, len(tasks)) if takes_steps else ()
        if weights is None:
            drawn_persons = rng.permutation(len(tasks))[: self.outer.batch_size]
        else:
            size = min(self.outer.batch_size, len(tasks))
            drawn_persons = rng.choice(len(tasks), size=size, replace=False, p=weights)
        persons = [tasks[i] for i in drawn_persons]
        drawn = [(task.person, self._draw(task, rng)) for task in persons]
        own, factor = own_share_of_batch(drawn, lambda person_and_sets: _cost(source, person_and_sets[1]))
        losses = []
        for place, (_, sets) in enumerate(own, start=1):
            is_last = place == len(own)
            with nullcontext() if is_last else accelerator.no_sync(wrapped):
                examples = [_read(source, model, pairs) for pairs in sets]
                loss = wrapped(*schedule, *examples) / len(drawn) * factor
                accelerator.backward(loss)
            losses.append(loss.detach())
        total, parts = torch.zeros((), dtype=torch.float64), []
        # Read after all persons, because the program waits for a GPU here.
        for value, (person, sets) in zip(torch.stack(losses).tolist(), own, strict=True):
            total += value
            utterances = [utterance for of_set, _ in sets for utterance in of_set]
            parts.append(StepPart(utterances, math.isfinite(value), person))
        return mean_over_processes(total), parts

    def _draw(self, task: Task, rng: np.random.Generator) -> list[Pairs]:
        """Draw a person's support, and the query unless both are one set."""
        if self.csmt:
            return [task.sample(self.inner.support, rng)]
        utterances, labels = task.sample(self.inner.support + self._query_size(), rng)
        k = self.inner.support
        return [(utterances[:k], labels[:k]), (utterances[k:], labels[k:])]

    def _query_size(self) -> int:
        return self.inner.support if self.inner.query is None else self.inner.query

    def _optimizer(self, learner: MetaLearner | ProximalLearner) -> torch.optim.Optimizer:
        """Return Adam, without weight decay: that would pull the rates to zero."""
        weights = learner.model.trainable_parameters()
        fresh = [weight for name, weight in weights.items() if self.fresh_head and is_of_head(name)]
        others = [weight for name, weight in weights.items() if not (self.fresh_head and is_of_head(name))]
        groups = [{"params": others, "lr": self.outer.learning_rate}] if others else []
        if fresh:
            groups.append({"params": fresh, "lr": self.outer.head_learning_rate})
        if rates := list(learner.rates.parameters()):
            if isinstance(learner, ProximalLearner):
                groups.append({"params": rates, "lr": self.outer.strengths_learning_rate})
            else:
                # Gradients of relative rates shrink with the initial rate: epsilon must not show beside them.
                rate = self.outer.rates_learning_rate
                groups.append({"params": rates, "lr": rate, "eps": RATES_EPSILON})
        return torch.optim.Adam(groups)


def _read(source: ClipSource, model: EmotionRecognizer, pairs: Pairs) -> Examples:
    """Read what an inner or outer loss is computed on."""
    utterances, labels = pairs
    return source.batch(utterances), model.targets(labels)


def _cost(source: ClipSource, sets: list[Pairs]) -> float:
    """Return the cost of one person's sets, in any unit."""
    return sum(source.cost(utterance) for utterances, _ in sets for utterance in utterances)
