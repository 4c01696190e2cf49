"""Supervised training on label distributions: SSL-E (Meta-PerSER 2.3.1) and the models of two baselines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from meta_perser.adaptation.adaptation_loss import LossFunction
from meta_perser.adaptation.predictor import RecognizerPredictor
from meta_perser.options import PretrainOptions
from meta_perser.recognizer.batches import ClipSource
from meta_perser.training.regularization import dropout, masked
from perser.device import seeded, to_device
from perser.distributed import mean_over_processes, own_share_of_batch
from perser.encoders.encoder import use_attention
from perser.episodes.episode import Episode, Support, Task, aggregated_targets
from perser.labels import EmotionSet
from perser.personalizer import Personalizer
from perser.selection.validation import validate as validate_on
from perser.training.accelerator import cosine_schedule, wrap_for_training
from perser.training.checkpoint import BestWeights
from perser.training.loop import Display, LoopOptions, ShuffledBatches, Validation, fit
from perser.training.nonfinite import StepPart
from perser.training.options import Criterion
from perser.training.run import TrainingRun


@dataclass(frozen=True)
class SupervisedExamples:
    """Training utterances and what to predict for them, as aligned lists with one entry an utterance.

    Args:
        utterances: their ids.
        heads: the m heads that learn from the utterance, (m,). A recognizer with one head has head 0
            throughout.
        targets: the label distribution that each of these heads is to predict, (m, C).
    """

    utterances: list[str]
    heads: list[Tensor]
    targets: list[Tensor]

    def __len__(self) -> int:
        return len(self.utterances)

    def pairs(self, chosen: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return all M pairs of these utterances and their heads: the utterance's place in `chosen` (M,), the
        head (M,) and the target (M, C)."""
        heads = [self.heads[index] for index in chosen]
        places = torch.repeat_interleave(torch.tensor([len(of_utterance) for of_utterance in heads]))
        return places, torch.cat(heads), torch.cat([self.targets[index] for index in chosen])

    def count(self, chosen: Sequence[int]) -> int:
        """Return how many pairs these utterances have."""
        return sum(len(self.heads[index]) for index in chosen)


def aggregated_examples(tasks: Sequence[Task], emotions: EmotionSet) -> SupervisedExamples:
    """Return one head's examples: the mean of the listeners' label distributions (Meta-PerSER 2.3.1)."""
    targets = aggregated_targets(tasks, emotions)
    rows = [torch.tensor(target).unsqueeze(0) for target in targets.values()]
    return SupervisedExamples(list(targets), [torch.zeros(1, dtype=torch.long)] * len(rows), rows)


def examples_by_listener(tasks: Sequence[Task], emotions: EmotionSet) -> SupervisedExamples:
    """Return the examples of one head a person, with that person's own label distributions (Multi-Few)."""
    by_utterance: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)
    for head, task in enumerate(tasks):
        rows = torch.tensor(emotions.distribution(task.emotions))
        for utterance, row in zip(task.utterances, rows, strict=True):
            by_utterance[utterance].append((head, row))
    utterances = sorted(by_utterance)
    return SupervisedExamples(
        utterances,
        [torch.tensor([head for head, _ in by_utterance[utterance]]) for utterance in utterances],
        [torch.stack([row for _, row in by_utterance[utterance]]) for utterance in utterances],
    )


class _AnswersOnce(Personalizer):
    """A recognizer as it is, which reads each utterance once, however many queries it is in.

    For as long as the recognizer does not change.
    """

    route: ClassVar[str] = "meta-perser"

    def __init__(self, model: nn.Module, source: ClipSource) -> None:
        self._predictor = RecognizerPredictor(model, source, {})
        self._answers: dict[str, np.ndarray] = {}

    def personalize(self, support: Support) -> _AnswersOnce:
        return self

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        """Return probabilities: float32 (num_utterances, num_emotions), rows sum to 1."""
        new = [name for name in dict.fromkeys(utterances) if name not in self._answers]
        if new:
            self._answers |= zip(new, self._predictor.predict_proba(new), strict=True)
        return np.stack([self._answers[name] for name in utterances])


def unadapted_validation(
    model: nn.Module,
    source: ClipSource,
    episodes: Sequence[Episode],
    emotions: EmotionSet,
    criterion: Criterion,
) -> Validation:
    """Return what a recognizer as it is (Entire-Zero) scores on episodes."""
    return validate_on(_AnswersOnce(model, source), episodes, emotions, criterion)


def train_supervised(
    learner: nn.Module,
    examples: SupervisedExamples,
    source: ClipSource,
    loss: LossFunction,
    validate: Callable[[], Validation],
    options: PretrainOptions,
    accelerator: Accelerator,
    title: str,
    training_run: TrainingRun | None = None,
    fresh: Sequence[nn.Parameter] = (),
    validate_first: bool = False,
) -> BestWeights:
    """Train in place and leave the learner, in evaluation mode, at its best validated step.

    Args:
        learner: gives logits (B, C), or (B, heads, C), of a `ClipBatch`.
        examples: what it learns from.
        source: reads the clips.
        loss: of logits and target distributions.
        validate: scores on the validation episodes.
        options: how long and how fast.
        accelerator: of the training.
        title: of the progress bar.
        training_run: where it logs, and goes on from a checkpoint; None: nowhere.
        fresh: parameters of the learner that learn at `head_learning_rate`.
        validate_first: whether the start is kept, too, where no later step is better.
    """
    wrapped = wrap_for_training(learner, accelerator)
    batches = ShuffledBatches(len(examples), options.batch_size, options.seed)
    loop = _loop_options(options, batches.steps_per_epoch, validate_first)
    optimizer = _optimizer(learner, fresh, options)

    def step(number: int) -> tuple[float, list[StepPart]]:
        wrapped.train()
        # A seed for each step, so that a training that goes on draws what an undisturbed one does.
        with seeded(options.seed + number), dropout(learner, options.dropout):
            shares = _own_loss(wrapped, examples, source, loss, batches.at(number), options.mask_time)
        own_loss, utterances, finite = shares
        accelerator.backward(own_loss)
        # Read after the backward pass, because the program waits for a GPU here.
        parts = [StepPart((name,), ok) for name, ok in zip(utterances, finite.tolist(), strict=True)]
        return mean_over_processes(own_loss.detach()), parts

    with use_attention(learner, "sdpa"):
        result = fit(
            training_run or TrainingRun(accelerator),
            "supervised",
            learner,
            optimizer,
            step,
            validate,
            loop,
            schedule=cosine_schedule(optimizer, loop.steps, options.warmup),
            trained=wrapped,
            display=Display(title, " utterances", options.batch_size),
        )
    result.best.restore(learner)
    learner.eval()
    return result.best


def _loop_options(options: PretrainOptions, epoch: int, validate_first: bool) -> LoopOptions:
    """Return how long the training runs, where an epoch has so many steps."""
    steps = options.epochs * epoch if options.steps is None else options.steps
    every = options.validate_every or epoch
    return LoopOptions(steps, every, options.clip_norm, validate_first=validate_first)


def _optimizer(
    learner: nn.Module, fresh: Sequence[nn.Parameter], options: PretrainOptions
) -> torch.optim.AdamW:
    groups = _parameter_groups(learner, fresh, options)
    return torch.optim.AdamW(groups, weight_decay=options.weight_decay)


def _parameter_groups(
    learner: nn.Module, fresh: Sequence[nn.Parameter], options: PretrainOptions
) -> list[dict[str, object]]:
    """Return the trained parameters with their learning rates: one group where all have the same."""
    moving = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    head_rate = options.learning_rate if options.head_learning_rate is None else options.head_learning_rate
    if head_rate == options.learning_rate:
        return [{"params": moving, "lr": options.learning_rate}]
    of_head = {id(parameter) for parameter in fresh}
    groups = [
        {"params": [one for one in moving if (id(one) in of_head) == is_fresh], "lr": rate}
        for is_fresh, rate in ((False, options.learning_rate), (True, head_rate))
    ]
    return [group for group in groups if group["params"]]


def _own_loss(
    wrapped: nn.Module,
    examples: SupervisedExamples,
    source: ClipSource,
    loss: LossFunction,
    chosen: list[int],
    mask_time: float,
) -> tuple[Tensor, list[str], Tensor]:
    """Return this process's share of a batch's mean loss (see `own_share_of_batch`), the m utterances that it
    read, and whether the logits of each are finite (m,)."""
    mine, factor = own_share_of_batch(chosen, lambda index: source.cost(examples.utterances[index]))
    utterances = [examples.utterances[index] for index in mine]
    logits = wrapped(masked(source.batch(utterances), mask_time))
    logits = logits.view(len(mine), -1, logits.shape[-1])
    finite = logits.detach().isfinite().flatten(1).all(dim=1)
    places, heads, targets = (to_device(tensor, logits.device) for tensor in examples.pairs(mine))
    logits = logits[places, heads]
    share = examples.count(mine) / examples.count(chosen) * factor
    return loss(logits, targets.to(logits)) * share, utterances, finite
