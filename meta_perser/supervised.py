"""Supervised training on lessons, in one process or several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch
from accelerate import Accelerator
from torch import nn

from meta_perser.clips import ClipSource
from meta_perser.inner_loop import LossFunction
from meta_perser.lessons import Lessons
from perser.bad_steps import Part
from perser.encoder import use_attention
from perser.journal import Journal
from perser.processes import mean_of_all, own_share
from perser.sharding import make_whole, whole_weights
from perser.training import Best, cosine, on_all, progress, shuffled_batches
from perser.training_state import TrainingState


@dataclass(frozen=True)
class FitOptions:
    """How long and how fast.

    Args:
        epochs: passes over the training utterances.
        batch_size: utterances a step, over all processes.
        learning_rate: of AdamW, with warm-up and cosine decay.
        weight_decay: of AdamW.
        seed: of the batches' order.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int


def fit(
    learner: nn.Module,
    lessons: Lessons,
    source: ClipSource,
    loss: LossFunction,
    validate: Callable[[], float],
    options: FitOptions,
    accelerator: Accelerator,
    title: str,
    journal: Journal | None = None,
) -> Best:
    """Train in place and leave the learner, in evaluation mode, at its best validated epoch.

    `learner` gives logits (B, C), or (B, heads, C), of a `ClipBatch`. With a `journal` it goes on from that
    one's checkpoint.
    """
    wrapped = on_all(learner, accelerator)
    moving = [one for one in learner.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=options.learning_rate, weight_decay=options.weight_decay)
    steps_an_epoch = -(-len(lessons) // options.batch_size)
    steps = options.epochs * steps_an_epoch
    schedule = cosine(optimizer, steps)
    # Not the schedule: prepared, it would step once for every process.
    optimizer = accelerator.prepare(optimizer)
    order = torch.Generator().manual_seed(options.seed)  # the same in every process
    batches = (
        chosen
        for _ in range(options.epochs)
        for chosen in shuffled_batches(len(lessons), options.batch_size, order)
    )
    best = Best()
    state = TrainingState(learner, optimizer, schedule, best)
    journal = journal or Journal(accelerator)
    with (
        journal.stage("supervised", state, wrapped, clip_norm=1.0) as stage,
        progress(steps, title, stage.done, " utterances", options.batch_size) as bar,
        use_attention(learner, "sdpa"),
    ):
        for step, chosen in islice(enumerate(batches, start=1), stage.done, None):
            wrapped.train()
            own, parts = _own_loss(wrapped, lessons, source, loss, chosen)
            accelerator.backward(own)
            value = mean_of_all(own.detach())
            stage.update(step, value, parts)
            bar.update()
            found = {}
            if step % steps_an_epoch == 0:
                with whole_weights(wrapped):
                    found["validation_maf1"] = score = validate()
                    best.offer(score, step // steps_an_epoch, learner)
                bar.set_postfix(loss=f"{value:.3f}", validation_maF1=f"{score:.3f}")
            stage.ended(step, **found)
    make_whole(wrapped)
    best.restore(learner)
    learner.eval()
    return best


def _own_loss(
    wrapped: nn.Module, lessons: Lessons, source: ClipSource, loss: LossFunction, chosen: list[int]
) -> tuple[torch.Tensor, list[Part]]:
    """This process's part of a batch's mean loss, as `own_share` wants it; and the utterances, one by one."""
    mine, factor = own_share(chosen, lambda one: source.cost(lessons.utterances[one]))
    places, heads, targets = lessons.pairs(mine)
    utterances = [lessons.utterances[one] for one in mine]
    logits = wrapped(source.batch(utterances))
    logits = logits.view(len(mine), -1, logits.shape[-1])
    finite = logits.detach().isfinite().flatten(1).all(dim=1).tolist()
    parts = [Part((one,), sound) for one, sound in zip(utterances, finite, strict=True)]
    logits = logits[places, heads]
    share = lessons.count(mine) / lessons.count(chosen) * factor
    return loss(logits, targets.to(logits)) * share, parts
