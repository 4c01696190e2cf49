"""Meta-testing of several persons at once, where only the head or adapters move: each person's step is many
small products, and torch.func.vmap makes large ones of them, those with frozen weights over all persons'
frames.

A trunk that adapts as a whole has weights of its own for every person, and nothing to share.

Which persons adapt together (see `meta_perser.together`): as many as fit into memory and may gain by it.

Together small matrix products become large ones. On a CPU a person's own are large enough from LARGE on, and
persons together only fall out of the caches; below it, with adapters, clips of unlike lengths have eaten up
most of the gain wherever it was measured (0.9 to 1.1 of the time of one by one).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from meta_perser.adaptation.inner_loop import LossFunction, Weights
from meta_perser.adaptation.lslr import ConstantRate, LearnedRates
from meta_perser.recognizer.clip_batch import Bucket, ClipBatch, bucket_places, joint_lengths
from meta_perser.recognizer.model import EmotionRecognizer
from perser.encoders.encoder import use_attention


def adapt_batched(
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


MEMORY = 256 * 2**20
"""Bytes that the persons of one company may take."""

LARGE = 12 * 2**20
"""Bytes of activations from which a person goes alone on a CPU."""

PADDING = 1.25
"""How much larger a person's activations may become, on average, by padding persons alike."""


def adaptation_groups(model: EmotionRecognizer, lengths: Sequence[Sequence[int]]) -> list[list[int]]:
    """The persons' places, a list a company; in one, all have equally many pairs.

    `lengths`: of every person, the frames of each clip, shortest first; 0 where only the head moves. Persons
    are taken by what they need alone, so that neighbors are padded little.
    """
    alone = [activation_bytes(model, one) for one in lengths]
    order = sorted(range(len(lengths)), key=lambda place: (len(lengths[place]), alone[place]))
    found: list[list[int]] = []
    for place in order:
        joined = [*found[-1], place] if found else [place]
        most = PADDING * sum(alone[one] for one in joined) / len(joined)
        if model.layer_logits.device.type == "cpu":
            most = min(LARGE, most)
        if len(joined) > 1 and _fit_together(model, [lengths[one] for one in joined], most):
            found[-1] = joined
        else:
            found.append([place])
    return found


def _fit_together(model: EmotionRecognizer, lengths: Sequence[Sequence[int]], most: float) -> bool:
    """Whether persons have equally many pairs, padded alike need at most `most` bytes of activations each,
    and fit into memory."""
    if len({len(one) for one in lengths}) > 1:
        return False
    joint = joint_lengths(lengths)
    padded = activation_bytes(model, joint)
    if padded > most:
        return False
    return len(lengths) * (padded + weight_bytes(model) + state_bytes(model, len(joint))) <= MEMORY


def activation_bytes(model: EmotionRecognizer, lengths: Sequence[int]) -> int:
    """About what a step keeps of one person's clips, there and back: in each moving layer 36 vectors a frame
    (projections, norms, a feed-forward part four times as wide) and six numbers a head for each pair of
    frames; nothing where no layer moves. Measured peaks of encoders of several sizes are near it."""
    layers = _moving_layers(model)
    if not layers:
        return 0
    buckets = [(len(places), lengths[places[-1]]) for places in bucket_places(lengths)]
    frames = sum(clips * longest for clips, longest in buckets)
    pairs = sum(clips * longest**2 for clips, longest in buckets)
    numbers = layers * (36 * frames * model.encoder.hidden_size + 6 * pairs * model.encoder.num_heads)
    return model.layer_logits.element_size() * numbers


def weight_bytes(model: EmotionRecognizer) -> int:
    """What a person's weights take: four copies of what moves, and of each adapted layer the four attention
    projections with the adapters in them, which WavLM reads."""
    moving = sum(one.numel() for one in model.moving_parameters().values())
    projections = 4 * model.encoder.hidden_size**2
    return model.layer_logits.element_size() * (4 * moving + _moving_layers(model) * projections)


def state_bytes(model: EmotionRecognizer, k: int) -> int:
    """What the pooled states of `k` clips take, with as much again for the standardized ones and their
    gradient."""
    states = k * (model.encoder.num_layers + 1) * model.encoder.hidden_size
    return model.layer_logits.element_size() * 3 * states


def _moving_layers(model: EmotionRecognizer) -> int:
    return model.encoder.num_layers - (model.lowest or 0)
