"""Meta-testing of several persons at once, where only the head or adapters move: each person's step is many
small products, and torch.func.vmap makes large ones of them, those with frozen weights over all persons'
frames.

A trunk that adapts as a whole has weights of its own for every person, and nothing to share.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from meta_perser.inner_loop import LossFunction, Weights
from meta_perser.lslr import ConstantRate, LearnedRates
from meta_perser.model import Bucket, ClipBatch, EmotionRecognizer
from perser.encoder import use_attention


def adapt_together(
    model: EmotionRecognizer,
    starts: Weights,
    rates: LearnedRates | ConstantRate,
    batch: ClipBatch,
    targets: Tensor,
    loss: LossFunction,
    steps: int,
) -> Weights:
    """What `inner_loop.adapt` gives for each of P persons, stacked: every tensor is (P, ...).

    `starts`: the weights before the first step, (P, ...); `batch`: the supports, as `ClipSource.batch_alike`
    gives them; `targets`: (P, K, C). Whoever's loss stops being finite keeps the last weights with a finite
    one, and the others go on.
    """
    clips = [(bucket.frames, bucket.mask) for bucket in batch.buckets]

    def one_loss(
        weights: Weights, lower: Tensor, own_clips: list[tuple[Tensor, Tensor]], own_targets: Tensor
    ) -> Tensor:
        buckets = tuple(
            Bucket(*own, bucket.places) for own, bucket in zip(own_clips, batch.buckets, strict=True)
        )
        with use_attention(model, "eager"):  # there is no batching rule for fused kernels
            logits = functional_call(model, weights, (ClipBatch(lower, buckets),))
        return loss(logits, own_targets)

    gradients_and_losses = vmap(grad_and_value(one_loss))
    weights = before = starts
    going = torch.ones(len(targets), dtype=torch.bool, device=targets.device)
    for step in range(steps):
        gradients, losses = gradients_and_losses(weights, batch.lower, clips, targets)
        going = going & losses.isfinite()
        before = _chosen(going, weights, before)
        rate = rates.at(step)
        with torch.no_grad():
            moved = {name: one - rate[name] * gradients[name] for name, one in before.items()}
        weights = _chosen(going, moved, before)
    last = vmap(one_loss)(weights, batch.lower, clips, targets)
    return _chosen(last.isfinite(), weights, before)


def _chosen(first: Tensor, weights: Weights, others: Weights) -> Weights:
    """A person's tensors of `weights` where `first` (P,) is True, of `others` elsewhere."""
    return {
        name: torch.where(first.view(-1, *[1] * (one.ndim - 1)), one, others[name])
        for name, one in weights.items()
    }
