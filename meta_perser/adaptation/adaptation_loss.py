"""The loss of both loops as the loops need it: with class weights, and as a function of the fast weights.

The formula itself, class-balanced soft cross-entropy, is in `perser.losses`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.recognizer.functional import FunctionalModel
from meta_perser.recognizer.model import moving_part
from perser.encoders.encoder import Attention
from perser.episodes.episode import Task
from perser.labels import EmotionSet
from perser.losses import class_balanced_cross_entropy, class_balanced_weights
from perser.training.checkpoint import moving_parameters

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, C), target distributions (B, C)) -> scalar."""

Weights = dict[str, Tensor]
"""MAML's theta: the tensors that move, by parameter name."""

WeightsLoss = Callable[[Weights], Tensor]
"""L(theta): the scalar loss on one person's examples, as a function of the weights that move."""


def class_balanced_loss(class_weights: Tensor, label_smoothing: float = 0.0) -> LossFunction:
    """Return the class-balanced soft cross-entropy with these class weights (num_emotions,)."""
    return partial(class_balanced_cross_entropy, class_weights=class_weights, label_smoothing=label_smoothing)


def training_class_weights(tasks: Sequence[Task], emotions: EmotionSet) -> Tensor:
    """Return class-balanced weights (num_emotions,) from how often each emotion occurs in these tasks."""
    positives = sum(emotions.multi_hot(task.emotions).sum(axis=0) for task in tasks)
    return class_balanced_weights(torch.as_tensor(positives), sum(len(task.utterances) for task in tasks))


def loss_on(
    model: nn.Module,
    loss: LossFunction,
    batch: ClipBatch,
    targets: Tensor,
    attention: Attention = "eager",
) -> WeightsLoss:
    """Return L(theta): the loss of the model on these clips, with theta in place of its moving weights.

    With the attention `sdpa` it is faster, but can be differentiated only once. Under autocast only the model
    runs in lower precision: loss, weights and rates do not.
    """

    part, read = moving_part(model, batch)
    functional = FunctionalModel(part, moving_parameters(part), attention)

    def loss_of(theta: Weights) -> Tensor:
        logits = functional(theta, read)
        with torch.autocast(logits.device.type, enabled=False):
            return loss(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets)

    return loss_of
