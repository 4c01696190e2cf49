"""One person's inner loop and outer loss as one module's forward.

The outer loop of MAML: the mean over listeners of L(theta_i, T_i), followed to theta and the rates.
"""

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

from meta_perser.adaptation.inner_loop import inner_loop
from meta_perser.adaptation.loss import LossFunction, loss_on
from meta_perser.adaptation.lslr import Rates
from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.adaptation.step_schedule import StepSchedule, multi_step_weights, second_order_steps
from meta_perser.options import AnnealingOptions, InnerOptions, Memory, MultiStepOptions, OuterOptions
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.recognizer.model import EmotionRecognizer
from perser.distributed import mean_over_processes, own_share_of_batch, progress
from perser.episodes.episode import Episode, Task
from perser.errors import UserError
from perser.labels import Emotions
from perser.personalizer import mean_score
from perser.training.accelerator import cosine, wrap_for_training
from perser.training.checkpoint import TrainingState
from perser.training.loop import BestWeights
from perser.training.nonfinite import Part
from perser.training.run import TrainingRun
from perser.training.sharding import unshard, unsharded_weights

Examples = tuple[ClipBatch, Tensor]
"""Clips, and their target distributions (B, num_emotions)."""


class MetaLearner(nn.Module):
    """The recognizer and its rates; a forward runs one person's whole inner loop and gives the outer loss,
    so that what wraps it for several processes sees every gradient."""

    def __init__(
        self, model: EmotionRecognizer, rates: Rates, loss: LossFunction, memory: Memory = "unroll"
    ) -> None:
        super().__init__()
        self.model = model
        self.rates = rates
        self._loss = loss
        self._memory: Memory = memory

    def forward(
        self, plan: StepSchedule, final_weight: float, support: Examples, query: Examples | None = None
    ) -> Tensor:
        """The sum over steps of plan.step_loss_weights[s] * W(theta_s), plus final_weight * W(theta_S).

        W is the loss on the set that the inner loop learns from (CSMT, 2.3.2), whose values on the way cost
        nothing more, or on `query` where there is one (classic MAML).
        """
        learned_from = loss_on(self.model, self._loss, *support)
        once = loss_on(self.model, self._loss, *support, attention="sdpa")
        watched = None if query is None else loss_on(self.model, self._loss, *query, attention="sdpa")
        adapted, path = inner_loop(
            learned_from,
            dict(self.model.moving_parameters()),
            self.rates.table(len(plan.step_loss_weights)),
            plan,
            watched,
            self._memory,
            once,
        )
        return path + final_weight * (watched or once)(adapted)


Pairs = tuple[tuple[str, ...], tuple[Emotions, ...]]
"""Utterance ids and, aligned with them, what one listener heard in each."""


@dataclass(frozen=True)
class OuterLoop:
    """How `perser meta-train` trains; fields as its options, by the same names."""

    inner: InnerOptions = field(default_factory=InnerOptions)
    outer: OuterOptions = field(default_factory=OuterOptions)
    csmt: bool = True
    derivative_annealing: AnnealingOptions = field(default_factory=AnnealingOptions)
    multi_step_loss: MultiStepOptions = field(default_factory=MultiStepOptions)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.csmt and self.inner.query is not None:
            raise UserError("inner.query: with csmt the outer loss is on the support: leave inner.query out")

    def train(
        self,
        trained: MetaPerSER,
        source: ClipSource,
        tasks: Sequence[Task],
        validation: Sequence[Episode],
        accelerator: Accelerator,
        keep: Callable[[BestWeights, int, float], None] = lambda best, iteration, score: None,
        training_run: TrainingRun | None = None,
    ) -> tuple[BestWeights, MetaLearner]:
        """Train `trained` in place, to its last iteration or until patience is out; for listeners and
        examples that `check` found to be enough.

        Gives what did best on the validation episodes, and the module that `BestWeights.restore` puts it back into.
        `keep` is called in the main process after every look at the validation episodes, with the best so
        far, and the iteration of the weights that `trained` has and their score. With a `training_run` it goes on
        from that one's checkpoint.
        """
        learner = MetaLearner(trained.model, trained.rates, trained.loss, self.inner.memory)
        wrapped = wrap_for_training(learner, accelerator)
        optimizer = self._optimizer(learner)
        schedule = cosine(optimizer, self.outer.iterations) if self.outer.cosine else None
        # Not the schedule: prepared, it would step once for every process.
        optimizer = accelerator.prepare(optimizer)
        rng = np.random.default_rng([self.seed, 0])
        read, cost = partial(_read, source, trained.model), partial(_cost, source)
        best, counters = BestWeights(), {"looks_since_best": 0}
        state = TrainingState(learner, optimizer, schedule, best, {"sampler": rng}, counters)
        training_run = training_run or TrainingRun(accelerator)

        def validate(iteration: int) -> float:
            with unsharded_weights(wrapped):
                # The same on all processes, so that they stop together.
                score = mean_score(trained.personalizer(source), validation, trained.model.emotions)
                better = best.offer(score, iteration, learner)
                counters["looks_since_best"] = 0 if better else counters["looks_since_best"] + 1
                if accelerator.is_main_process:
                    keep(best, iteration, score)
            return score

        iterations = self.outer.iterations
        with training_run.stage("meta-train", state, wrapped, self.outer.clip_norm) as stage:
            if not stage.done:
                training_run.record("meta-train", 0, {"validation_maf1": validate(0)})
            persons = min(self.outer.persons, len(tasks))
            with progress(iterations, "meta-train", stage.done, " episodes", persons) as bar:
                for iteration in range(stage.done + 1, iterations + 1):
                    if counters["looks_since_best"] == self.outer.patience:
                        break
                    loss, parts = self._gradients(wrapped, read, cost, tasks, rng, iteration, accelerator)
                    stage.update(iteration, loss, parts)
                    bar.update()
                    found = {}
                    if iteration % self.outer.validate_every == 0 or iteration == iterations:
                        found = {"validation_maf1": validate(iteration)}
                    bar.set_postfix(loss=f"{loss:.3f}", best_validation_maF1=f"{best.score:.3f}")
                    stage.ended(iteration, **found)
        unshard(wrapped)
        return best, learner

    def check(self, tasks: Sequence[Task]) -> None:
        """Raises UserError, naming the key, where a person's examples do not suffice."""
        if self.csmt:
            return
        wanted = self.inner.support + self._query_size()
        for task in tasks:
            if len(task.utterances) < wanted:
                raise UserError(
                    f"inner.query: {self.inner.support} + {self._query_size()} examples a listener are more "
                    f"than '{task.person}' has ({len(task.utterances)}): lower inner.support or inner.query"
                )

    def plan(self, iteration: int, persons: int) -> tuple[StepSchedule, float]:
        """Order and loss weight of each inner step in this iteration (from 1), and the weight of the loss at
        theta_S; `persons`: how many there are to train on."""
        steps, behind = self.inner.steps, iteration - 1
        epoch = behind // -(-persons // min(self.outer.persons, persons))
        *early, final = multi_step_weights(self.multi_step_loss, steps, epoch)
        orders = second_order_steps(self.derivative_annealing, steps, behind / self.outer.iterations)
        return StepSchedule(orders, (0.0, *early)), final

    def _gradients(
        self,
        wrapped: MetaLearner,
        read: Callable[[Pairs], Examples],
        cost: Callable[[list[Pairs]], float],
        tasks: Sequence[Task],
        rng: np.random.Generator,
        iteration: int,
        accelerator: Accelerator,
    ) -> tuple[float, list[Part]]:
        """Add up this iteration's outer gradient; gives the persons' mean outer loss, and this process's
        persons.

        Every process draws the same persons and examples, and each takes its own share of the persons, so
        that the sum does not depend on how many processes there are, nor on how evenly they share.
        """
        plan, final_weight = self.plan(iteration, len(tasks))
        chosen = [tasks[i] for i in rng.permutation(len(tasks))[: self.outer.persons]]
        drawn = [(task.person, self._draw(task, rng)) for task in chosen]
        own, factor = own_share_of_batch(drawn, lambda one: cost(one[1]))
        total, parts = torch.zeros((), dtype=torch.float64), []
        for place, (person, sets) in enumerate(own, start=1):
            last = place == len(own)
            with nullcontext() if last else accelerator.no_sync(wrapped):
                loss = wrapped(plan, final_weight, *map(read, sets)) / len(drawn) * factor
                accelerator.backward(loss)
            total += loss.item()
            utterances = [one for pairs, _ in sets for one in pairs]
            parts.append(Part(utterances, math.isfinite(loss.item()), person))
        return mean_over_processes(total), parts

    def _draw(self, task: Task, rng: np.random.Generator) -> list[Pairs]:
        """The support, and with it the query unless both are one set."""
        if self.csmt:
            return [task.sample(self.inner.support, rng)]
        utterances, labels = task.sample(self.inner.support + self._query_size(), rng)
        k = self.inner.support
        return [(utterances[:k], labels[:k]), (utterances[k:], labels[k:])]

    def _query_size(self) -> int:
        return self.inner.support if self.inner.query is None else self.inner.query

    def _optimizer(self, learner: MetaLearner) -> torch.optim.Optimizer:
        """Adam without weight decay: it would pull the rates to zero."""
        groups = [
            {"params": list(learner.model.moving_parameters().values()), "lr": self.outer.learning_rate}
        ]
        if rates := list(learner.rates.parameters()):
            groups.append({"params": rates, "lr": self.outer.rates_learning_rate})
        return torch.optim.Adam(groups)


def _read(source: ClipSource, model: EmotionRecognizer, pairs: Pairs) -> Examples:
    """What an inner or outer loss is on."""
    utterances, labels = pairs
    return source.batch(utterances), model.targets(labels)


def _cost(source: ClipSource, sets: list[Pairs]) -> float:
    """Of one person's sets, in any unit."""
    return sum(source.cost(one) for utterances, _ in sets for one in utterances)
