"""What supervised training learns from: every training utterance with its label distributions.

Supervised training on lessons, in one process or several.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from meta_perser.adaptation.loss import LossFunction
from meta_perser.recognizer.batches import ClipSource
from perser.distributed import mean_over_processes, own_share_of_batch, progress
from perser.encoders.encoder import use_attention
from perser.episodes.episode import Task, aggregated_targets
from perser.labels import EmotionSet
from perser.training.accelerator import cosine, wrap_for_training
from perser.training.checkpoint import TrainingState
from perser.training.loop import BestWeights, shuffled_batches
from perser.training.nonfinite import Part
from perser.training.run import TrainingRun
from perser.training.sharding import unshard, unsharded_weights


@dataclass(frozen=True)
class SupervisedExamples:
    """Aligned lists, one entry an utterance: the m heads that are to predict it, (m,) long, and what each is
    to predict, (m, C). A recognizer with one head has head 0 and m = 1 throughout."""

    utterances: list[str]
    heads: list[Tensor]
    targets: list[Tensor]

    def __len__(self) -> int:
        return len(self.utterances)

    def pairs(self, chosen: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Of these utterances, all (utterance, head) pairs: the utterance's place in `chosen` (M,), the head
        (M,) and the target (M, C)."""
        heads = [self.heads[one] for one in chosen]
        places = torch.repeat_interleave(torch.tensor([len(one) for one in heads]))
        return places, torch.cat(heads), torch.cat([self.targets[one] for one in chosen])

    def count(self, chosen: Sequence[int]) -> int:
        """How many pairs these utterances have."""
        return sum(len(self.heads[one]) for one in chosen)


def aggregated_examples(tasks: Sequence[Task], emotions: EmotionSet) -> SupervisedExamples:
    """One head, on the mean of the listeners' label distributions (Meta-PerSER 2.3.1)."""
    targets = aggregated_targets(tasks, emotions)
    rows = [torch.tensor(one).unsqueeze(0) for one in targets.values()]
    return SupervisedExamples(list(targets), [torch.zeros(1, dtype=torch.long)] * len(rows), rows)


def examples_by_listener(tasks: Sequence[Task], emotions: EmotionSet) -> SupervisedExamples:
    """A head for each person, on their own label distributions (Multi-Few)."""
    given: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)
    for head, task in enumerate(tasks):
        rows = torch.tensor(emotions.distribution(task.emotions))
        for utterance, row in zip(task.utterances, rows, strict=True):
            given[utterance].append((head, row))
    utterances = sorted(given)
    heads = [torch.tensor([head for head, _ in given[one]]) for one in utterances]
    return SupervisedExamples(
        utterances, heads, [torch.stack([row for _, row in given[one]]) for one in utterances]
    )


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
    examples: SupervisedExamples,
    source: ClipSource,
    loss: LossFunction,
    validate: Callable[[], float],
    options: FitOptions,
    accelerator: Accelerator,
    title: str,
    training_run: TrainingRun | None = None,
) -> BestWeights:
    """Train in place and leave the learner, in evaluation mode, at its best validated epoch.

    `learner` gives logits (B, C), or (B, heads, C), of a `ClipBatch`. With a `training_run` it goes on from that
    one's checkpoint.
    """
    wrapped = wrap_for_training(learner, accelerator)
    moving = [one for one in learner.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=options.learning_rate, weight_decay=options.weight_decay)
    steps_an_epoch = -(-len(examples) // options.batch_size)
    steps = options.epochs * steps_an_epoch
    schedule = cosine(optimizer, steps)
    # Not the schedule: prepared, it would step once for every process.
    optimizer = accelerator.prepare(optimizer)
    order = torch.Generator().manual_seed(options.seed)  # the same in every process
    batches = (
        chosen
        for _ in range(options.epochs)
        for chosen in shuffled_batches(len(examples), options.batch_size, order)
    )
    best = BestWeights()
    state = TrainingState(learner, optimizer, schedule, best)
    training_run = training_run or TrainingRun(accelerator)
    with (
        training_run.stage("supervised", state, wrapped, clip_norm=1.0) as stage,
        progress(steps, title, stage.done, " utterances", options.batch_size) as bar,
        use_attention(learner, "sdpa"),
    ):
        for step, chosen in islice(enumerate(batches, start=1), stage.done, None):
            wrapped.train()
            own, parts = _own_loss(wrapped, examples, source, loss, chosen)
            accelerator.backward(own)
            value = mean_over_processes(own.detach())
            stage.update(step, value, parts)
            bar.update()
            found = {}
            if step % steps_an_epoch == 0:
                with unsharded_weights(wrapped):
                    found["validation_maf1"] = score = validate()
                    best.offer(score, step // steps_an_epoch, learner)
                bar.set_postfix(loss=f"{value:.3f}", validation_maF1=f"{score:.3f}")
            stage.ended(step, **found)
    unshard(wrapped)
    best.restore(learner)
    learner.eval()
    return best


def _own_loss(
    wrapped: nn.Module,
    examples: SupervisedExamples,
    source: ClipSource,
    loss: LossFunction,
    chosen: list[int],
) -> tuple[torch.Tensor, list[Part]]:
    """This process's part of a batch's mean loss, as `own_share_of_batch` wants it; and the utterances, one by one."""
    mine, factor = own_share_of_batch(chosen, lambda one: source.cost(examples.utterances[one]))
    places, heads, targets = examples.pairs(mine)
    utterances = [examples.utterances[one] for one in mine]
    logits = wrapped(source.batch(utterances))
    logits = logits.view(len(mine), -1, logits.shape[-1])
    finite = logits.detach().isfinite().flatten(1).all(dim=1).tolist()
    parts = [Part((one,), sound) for one, sound in zip(utterances, finite, strict=True)]
    logits = logits[places, heads]
    share = examples.count(mine) / examples.count(chosen) * factor
    return loss(logits, targets.to(logits)) * share, parts
