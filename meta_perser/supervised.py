"""Supervised training on lessons, in one process or several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import nn

from meta_perser.clips import ClipSource
from meta_perser.inner_loop import LossFunction
from meta_perser.lessons import Lessons
from perser.encoder import use_attention
from perser.training import Best, cosine, progress, shuffled_batches


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
) -> Best:
    """Train in place and leave the learner, in evaluation mode, at its best validated epoch.

    `learner` gives logits (B, C), or (B, heads, C), of a `ClipBatch`.
    """
    moving = [one for one in learner.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=options.learning_rate, weight_decay=options.weight_decay)
    steps = options.epochs * -(-len(lessons) // options.batch_size)
    schedule = cosine(optimizer, steps)
    # Not the schedule: prepared, it would step once for every process.
    wrapped, optimizer = accelerator.prepare(learner, optimizer)
    order = torch.Generator().manual_seed(options.seed)  # the same in every process
    best = Best()
    with progress(steps, title) as bar, use_attention(learner, "sdpa"):
        for epoch in range(options.epochs):
            wrapped.train()
            for chosen in shuffled_batches(len(lessons), options.batch_size, order):
                value = _own_loss(wrapped, lessons, source, loss, chosen, accelerator)
                accelerator.backward(value)
                accelerator.clip_grad_norm_(wrapped.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                bar.update()
            score = validate()
            best.offer(score, epoch + 1, learner)
            bar.set_postfix(loss=f"{value.item():.3f}", validation_maF1=f"{score:.3f}")
    best.restore(learner)
    learner.eval()
    return best


def _own_loss(
    wrapped: nn.Module,
    lessons: Lessons,
    source: ClipSource,
    loss: LossFunction,
    chosen: list[int],
    accelerator: Accelerator,
) -> torch.Tensor:
    """This process's part of a batch's loss, so scaled that the mean over the processes, which is what
    becomes of their gradients, is the mean over the whole batch however unevenly it divides."""
    mine, share = own_share(lessons, chosen, accelerator.process_index, accelerator.num_processes)
    places, heads, targets = lessons.pairs(mine)
    logits = wrapped(source.batch([lessons.utterances[one] for one in mine]))
    logits = logits.view(len(mine), -1, logits.shape[-1])[places, heads]
    return loss(logits, targets.to(logits)) * share


def own_share(lessons: Lessons, chosen: list[int], process: int, processes: int) -> tuple[list[int], float]:
    """Every `processes`-th utterance of a batch, and the weight of their mean loss. A process that a small
    last batch leaves without any takes one at weight 0: every process has to take every step."""
    mine = chosen[process::processes]
    if not mine:
        return chosen[:1], 0.0
    return mine, lessons.count(mine) * processes / lessons.count(chosen)
