"""python -m meta_perser.train --corpus DIR --episodes episodes.json --ssl_e ssl-e --out meta-perser

Meta-training (Meta-PerSER 2.3.4): for each sampled listener an inner loop on K of their examples, and an
outer loss on the same combined set, with gradients through the inner loop to the weights and the rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call

from meta_perser.clips import ClipSource
from meta_perser.gradient import GradientPersonalizer, balanced_loss, target_tensor
from meta_perser.inner_loop import LossFunction, inner_loop
from meta_perser.lslr import LearnedRates
from meta_perser.model import MARKER, ClipBatch, EmotionRecognizer, extra_of
from perser.cli import run_command
from perser.corpora.corpus import Corpus
from perser.episodes import EpisodeFile
from perser.errors import UserError
from perser.folders import refuse_foreign, whole_folder
from perser.personalizer import mean_score
from perser.training import Best, cosine, progress, start

RATES = "rates.safetensors"


@dataclass(frozen=True)
class InnerOptions:
    """The inner loop.

    Args:
        steps: gradient steps in meta-training; each has learned rates of its own.
        support: K, examples sampled of a listener.
        rate: what every learned rate starts at; none: the rate with which fine-tuning SSL-E does best.
        adaptation_steps: gradient steps in meta-testing; beyond `steps` the last learned rates hold.
    """

    steps: int = 5
    support: int = 32
    rate: float | None = None
    adaptation_steps: int = 50

    def __post_init__(self) -> None:
        if self.steps < 1 or self.support < 1:
            raise ValueError(f"inner.steps and inner.support: {self.steps}, {self.support}: at least 1 each")
        if self.adaptation_steps < self.steps:
            raise ValueError(
                f"inner.adaptation_steps: {self.adaptation_steps} is below inner.steps: {self.steps}; "
                "a model adapted with fewer steps than it was trained for is not the trained one"
            )


@dataclass(frozen=True)
class OuterOptions:
    """The outer loop.

    Args:
        iterations: updates of the shared weights.
        persons: listeners a step.
        learning_rate: of Adam on the weights, cosine decay.
        rates_learning_rate: of Adam on the learned rates.
        validate_every: iterations between two looks at the validation episodes.
    """

    iterations: int = 200
    persons: int = 4
    learning_rate: float = 1e-3
    rates_learning_rate: float = 1e-3
    validate_every: int = 40

    def __post_init__(self) -> None:
        for name in ("iterations", "persons", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"outer.{name}: {getattr(self, name)}, give at least 1")


class MetaLearner(nn.Module):
    """The recogniser and its rates; a forward runs one person's whole inner loop and gives the outer loss,
    so that what wraps it for several processes sees every gradient."""

    def __init__(self, model: EmotionRecognizer, rates: LearnedRates, loss: LossFunction, steps: int) -> None:
        super().__init__()
        self.model = model
        self.rates = rates
        self._loss = loss
        self._steps = steps

    def forward(self, batch: ClipBatch, targets: Tensor) -> Tensor:
        """Outer loss L(theta_i, T_i) on the set that the inner loop saw (CSMT, 2.3.2)."""
        adapted = inner_loop(
            self.model,
            dict(self.model.moving_parameters()),
            self.rates,
            batch,
            targets,
            self._loss,
            self._steps,
            second_order=True,
        )
        return self._loss(functional_call(self.model, adapted, (batch,)), targets)


def meta_train(
    corpus: Path,
    episodes: Path,
    ssl_e: Path,
    out: Path,
    cache: Path = Path("runs/cache"),
    scope: str = "all",
    inner: InnerOptions = InnerOptions(),
    outer: OuterOptions = OuterOptions(),
    seed: int = 0,
) -> None:
    """Meta-train Meta-PerSER from SSL-E, so that a few gradient steps make it one listener's.

    Args:
        corpus: a prepared corpus.
        episodes: the episodes file; its training persons are the tasks, its validation episodes choose
            the checkpoint.
        ssl_e: the folder that `perser pretrain` wrote.
        out: folder for the meta-trained recogniser and its rates.
        cache: folder of the feature cache.
        scope: what adapts: all (trunk and head), top_layers:N, lora:R (adapters and head) or head.
        inner: the inner loop.
        outer: the outer loop.
        seed: of the sampled persons and examples.
    """
    refuse_foreign(out, MARKER)
    accelerator = start(seed)
    prepared, drawn = Corpus.load(corpus), EpisodeFile.load(episodes)
    tasks = drawn.training_tasks(prepared)
    start_point = extra_of(ssl_e)
    if start_point["trained_on"] != drawn.training_digest:
        raise UserError(f"{ssl_e} was trained on another split than {episodes}: train it with this one")
    model = EmotionRecognizer.from_pretrained(ssl_e)
    model.set_scope(scope)
    model.to(accelerator.device)
    source = ClipSource(prepared.recordings, model, cache)
    loss = balanced_loss(
        torch.tensor(start_point["class_weights"], device=accelerator.device), start_point["label_smoothing"]
    )
    part = "head" if scope == "head" else "entire"
    rate = start_point["fine_tune"][part]["rate"] if inner.rate is None else inner.rate
    rates = LearnedRates(list(model.moving_parameters()), inner.steps, rate).to(accelerator.device)
    learner = MetaLearner(model, rates, loss, inner.steps)
    optimizer = torch.optim.Adam(
        [
            {"params": list(model.moving_parameters().values()), "lr": outer.learning_rate},
            {"params": list(rates.parameters()), "lr": outer.rates_learning_rate},
        ]
    )
    schedule = cosine(optimizer, outer.iterations)
    # Not the schedule: prepared, it would step once for every process.
    wrapped, optimizer = accelerator.prepare(learner, optimizer)
    rng = np.random.default_rng([seed, accelerator.process_index])

    def validate() -> float:
        personalizer = GradientPersonalizer(model, source, rates, loss, inner.adaptation_steps)
        return mean_score(personalizer, drawn.validation_episodes, prepared.emotions)

    best = Best()
    best.offer(validate(), 0, learner)
    with progress(outer.iterations, "meta-train") as bar:
        for iteration in range(1, outer.iterations + 1):
            loss_value = 0.0
            for task in (tasks[i] for i in rng.permutation(len(tasks))[: outer.persons]):
                utterances, labels = task.sample(inner.support, rng)
                targets = target_tensor(model.emotions, labels, model)
                outer_loss = wrapped(source.batch(utterances), targets) / min(outer.persons, len(tasks))
                accelerator.backward(outer_loss)
                loss_value += outer_loss.item()
            accelerator.clip_grad_norm_(wrapped.parameters(), 10.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            bar.update()
            if iteration % outer.validate_every == 0 or iteration == outer.iterations:
                best.offer(validate(), iteration, learner)
            bar.set_postfix(loss=f"{loss_value:.3f}", best_validation_maF1=f"{best.score:.3f}")
    best.restore(learner)
    if not accelerator.is_main_process:
        return
    with whole_folder(out, marker=MARKER) as folder:
        model.save_pretrained(
            folder,
            trained_on=drawn.training_digest,
            class_weights=start_point["class_weights"],
            label_smoothing=start_point["label_smoothing"],
            inner_steps=inner.steps,
            adaptation_steps=inner.adaptation_steps,
            best_iteration=best.step,
            validation_maf1=best.score,
        )
        save_file({"rates": rates.rates.detach().contiguous()}, folder / RATES)


if __name__ == "__main__":
    run_command(meta_train)
