"""The loss of both loops as the loops need it: with class weights, and as a function of the fast weights.

The formula itself, class-balanced soft cross-entropy, is in `perser.losses`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.recognizer.functional import FunctionalModel
from meta_perser.recognizer.model import moving_part
from perser.encoders.encoder import Attention
from perser.episodes.episode import Task
from perser.labels import EmotionSet
from perser.losses import class_balanced_cross_entropy, class_balanced_weights, smooth_macro_f1_loss
from perser.training.checkpoint import moving_parameters

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, C), target distributions (B, C)) -> scalar."""


class WeightedLoss(Protocol):
    """A `LossFunction` with class weights (C,), for which others may be given."""

    def __call__(self, logits: Tensor, targets: Tensor, /, *, class_weights: Tensor = ...) -> Tensor: ...


Weights = dict[str, Tensor]
"""MAML's theta: the tensors that move, by parameter name."""

WeightsLoss = Callable[[Weights], Tensor]
"""L(theta): the scalar loss on one person's examples, as a function of the weights that move."""


@dataclass(frozen=True)
class LossInParts:
    """A loss as the sum of parts, each on some of the clips.

    Called, it computes value and gradient part by part, in the memory of one part's graph; the result can be
    differentiated once.
    """

    parts: tuple[WeightsLoss, ...]

    def __call__(self, theta: Weights) -> Tensor:
        return _PartByPart.apply(self.parts, tuple(theta), *theta.values())


class _PartByPart(torch.autograd.Function):
    """The sum of losses as a function of (losses, names of the weights, weights)."""

    @staticmethod
    def forward(ctx: Any, parts: tuple[WeightsLoss, ...], names: tuple[str, ...], *weights: Tensor) -> Tensor:
        leaves = [weight.detach().requires_grad_() for weight in weights]
        total, gradients = torch.zeros(()), [torch.zeros_like(leaf) for leaf in leaves]
        for part in parts:
            with torch.enable_grad():
                value = part(dict(zip(names, leaves, strict=True)))
                own = torch.autograd.grad(value, leaves, allow_unused=True)
            total = value.detach() + total.to(value.device)
            for gradient, of_part in zip(gradients, own, strict=True):
                if of_part is not None:
                    gradient += of_part
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(outer * gradient for gradient in ctx.saved_tensors)


def parts_of(loss: WeightsLoss) -> tuple[WeightsLoss, ...]:
    """Return the losses whose sum is this one: itself, where it is not in parts."""
    return loss.parts if isinstance(loss, LossInParts) else (loss,)


def class_balanced_loss(class_weights: Tensor, label_smoothing: float = 0.0) -> WeightedLoss:
    """Return the class-balanced soft cross-entropy with these class weights (num_emotions,)."""
    return partial(class_balanced_cross_entropy, class_weights=class_weights, label_smoothing=label_smoothing)


def training_class_weights(tasks: Sequence[Task], emotions: EmotionSet) -> Tensor:
    """Return class-balanced weights (num_emotions,) from how often each emotion occurs in these tasks."""
    positives = sum(emotions.multi_hot(task.emotions).sum(axis=0) for task in tasks)
    return class_balanced_weights(torch.as_tensor(positives), sum(len(task.utterances) for task in tasks))


def with_macro_f1(loss: LossFunction, f1_weight: float) -> LossFunction:
    """Return the loss plus `f1_weight` times 1 minus the smooth macro-F1; at weight 0 the loss itself."""
    if not f1_weight:
        return loss
    return lambda logits, targets: loss(logits, targets) + f1_weight * smooth_macro_f1_loss(logits, targets)


def loss_on(
    model: nn.Module,
    loss: LossFunction,
    batch: ClipBatch,
    targets: Tensor,
    attention: Attention = "eager",
    clips_at_once: int | None = None,
) -> WeightsLoss:
    """Return L(theta): the loss of the model on these clips, with theta in place of its moving weights.

    With the attention `sdpa` it is faster, but can be differentiated only once. Under autocast only the model
    runs in lower precision: loss, weights and rates do not. With `clips_at_once` it is a `LossInParts`.
    """
    if clips_at_once is not None:
        parts = [
            _share(loss_on(model, loss, own, targets[places], attention), len(places) / len(targets))
            for own, places in batch.split(clips_at_once)
        ]
        return LossInParts(tuple(parts))
    part, read = moving_part(model, batch)
    functional = FunctionalModel(part, moving_parameters(part), attention)

    def loss_of(theta: Weights) -> Tensor:
        logits = functional(theta, read)
        with torch.autocast(logits.device.type, enabled=False):
            return loss(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets)

    return loss_of


def _share(loss: WeightsLoss, share: float) -> WeightsLoss:
    """Return the loss times a share: a mean over some clips becomes their part of the mean over all."""
    return lambda theta: share * loss(theta)
