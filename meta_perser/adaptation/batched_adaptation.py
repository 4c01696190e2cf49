"""Adapt several persons at once, where only the head or adapters move.

One person's step is many small matrix products. `adapt_batched` makes large ones of them with
torch.func.vmap: products with frozen weights run over the frames of all persons. Where the whole trunk moves,
this gains nothing, because every person has trunk weights of their own.

`adaptation_groups` says which persons adapt together: as many as fit into memory and are likely to gain. On a
CPU, one person's products are large enough from MAX_CPU_ACTIVATION_BYTES on, and more persons only overflow
the caches. With adapters, below that size, clips of different lengths cost most of the gain by their padding
(measured: 0.9 to 1.1 of the time of one person after another).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from meta_perser.adaptation.adaptation_loss import LossFunction, Weights
from meta_perser.adaptation.lslr import Rates
from meta_perser.recognizer.clip_batch import (
    Bucket,
    ClipBatch,
    bucket_cost,
    bucket_positions,
    longest_at_each_position,
)
from meta_perser.recognizer.functional import FunctionalModel
from meta_perser.recognizer.model import EmotionRecognizer
from perser.device import free_bytes, is_gpu

MAX_GROUP_BYTES = 256 * 2**20
"""Memory that all persons of a group may take together on a CPU; on a GPU, the least that they may."""

GPU_SHARE = 0.5
"""Share of a GPU's free memory that a group may take. The rest is for what the estimates leave out."""

MAX_CPU_ACTIVATION_BYTES = 12 * 2**20
"""Activations of one person from which they adapt alone on a CPU."""

MAX_PADDING = 1.25
"""How much larger the activations of a group's persons may become, on average, by padding."""


def adapt_batched(
    model: EmotionRecognizer,
    starts: Weights,
    rates: Rates,
    batch: ClipBatch,
    targets: Tensor,
    loss: LossFunction,
    steps: int,
) -> Weights:
    """Return what `inner_loop.adapt` returns for each of P persons, stacked: every tensor is (P, ...).

    Where one person's loss stops being finite, their last weights with a finite loss are returned; the others
    go on.

    Args:
        starts: theta_0 of each person, (P, ...).
        batch: their supports, from `ClipSource.stacked_batch`.
        targets: their target distributions, (P, K, C).
    """
    clips = [(bucket.frames, bucket.mask) for bucket in batch.buckets]
    # Eager, because vmap has no batching rule for fused kernels.
    functional = FunctionalModel(model, starts, attention="eager")

    def loss_of_person(
        theta: Weights, lower: Tensor, own_clips: list[tuple[Tensor, Tensor | None]], own_targets: Tensor
    ) -> Tensor:
        buckets = tuple(
            Bucket(frames, mask, bucket.positions)
            for (frames, mask), bucket in zip(own_clips, batch.buckets, strict=True)
        )
        return loss(functional(theta, ClipBatch(lower, buckets)), own_targets)

    gradients_and_losses = vmap(grad_and_value(loss_of_person))
    theta = previous = starts
    alphas = rates.table(steps).detach()
    finite = torch.ones(len(targets), dtype=torch.bool, device=targets.device)
    for step in range(steps):
        gradients, losses = gradients_and_losses(theta, batch.lower, clips, targets)
        finite = finite & losses.isfinite()
        previous = _where(finite, theta, previous)
        alpha = dict(zip(rates.names, alphas[step].unbind(), strict=True))
        with torch.no_grad():
            moved = {name: tensor - alpha[name] * gradients[name] for name, tensor in previous.items()}
        theta = _where(finite, moved, previous)
    last_losses = vmap(loss_of_person)(theta, batch.lower, clips, targets)
    return _where(last_losses.isfinite(), theta, previous)


def _where(condition: Tensor, theta: Weights, others: Weights) -> Weights:
    """Return a person's tensors of `theta` where `condition` (P,) is True, of `others` elsewhere."""
    return {
        name: torch.where(condition.view(-1, *[1] * (tensor.ndim - 1)), tensor, others[name])
        for name, tensor in theta.items()
    }


def adaptation_groups(model: EmotionRecognizer, lengths: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the persons' indices as groups that adapt together; in a group, all have equally many pairs.

    `lengths`: for each person, the frames of each clip, shortest first; 0 where only the head moves. Persons
    are sorted by the memory that they need alone, so that neighbors are padded little.
    """
    device = model.layer_logits.device
    group_bytes = max_group_bytes(device)
    alone = [activation_bytes(model, clips) for clips in lengths]
    order = sorted(range(len(lengths)), key=lambda person: (len(lengths[person]), alone[person]))
    groups: list[list[int]] = []
    longest: list[int] = []  # clips of the last group, at each position
    total = 0  # bytes that its persons need alone
    for person in order:
        own = lengths[person]
        if groups and len(own) == len(longest):
            count = len(groups[-1]) + 1
            together = longest_at_each_position([longest, own])
            max_bytes = MAX_PADDING * (total + alone[person]) / count
            if device.type == "cpu":
                max_bytes = min(MAX_CPU_ACTIVATION_BYTES, max_bytes)
            if _fit_together(model, together, count, max_bytes, group_bytes):
                groups[-1].append(person)
                longest, total = together, total + alone[person]
                continue
        groups.append([person])
        longest, total = list(own), alone[person]
    return groups


def max_group_bytes(device: torch.device) -> int:
    """Return how much memory all persons of a group may take together on this device.

    On a GPU it is a power of two, so that a little more or less free memory does not change the groups: what
    a clip is padded to changes its last digit.
    """
    if not is_gpu(device):
        return MAX_GROUP_BYTES
    share = int(GPU_SHARE * free_bytes(device))
    return max(MAX_GROUP_BYTES, 2 ** (share.bit_length() - 1))


def _fit_together(
    model: EmotionRecognizer, longest: Sequence[int], count: int, max_bytes: float, group_bytes: int
) -> bool:
    """Return whether `count` persons whose clips are padded to `longest` need at most `max_bytes` of
    activations each, and at most `group_bytes` of memory together."""
    padded = activation_bytes(model, longest)
    if padded > max_bytes:
        return False
    each = padded + weight_bytes(model) + state_bytes(model, len(longest))
    return count * each <= group_bytes


def activation_bytes(model: EmotionRecognizer, lengths: Sequence[int]) -> int:
    """Estimate the memory of one step's activations and their gradients, for one person's clips.

    In each moving layer, 36 vectors a frame (projections, norms, a feed-forward part four times as wide) and
    six numbers a head for each pair of frames; 0 where no layer moves. Peaks measured on encoders of several
    sizes are close to it.
    """
    layers = _moving_layers(model)
    if not layers:
        return 0
    cost = bucket_cost(model.layer_logits.device)
    buckets = [(len(positions), lengths[positions[-1]]) for positions in bucket_positions(lengths, cost)]
    frames = sum(clips * longest for clips, longest in buckets)
    pairs = sum(clips * longest**2 for clips, longest in buckets)
    numbers = layers * (36 * frames * model.encoder.hidden_size + 6 * pairs * model.encoder.num_heads)
    return model.layer_logits.element_size() * numbers


def weight_bytes(model: EmotionRecognizer) -> int:
    """Estimate the memory of one person's weights: four copies of what moves, and for each adapted layer the
    four attention projections with the adapters merged in, which WavLM reads."""
    moving = sum(parameter.numel() for parameter in model.trainable_parameters().values())
    projections = 4 * model.encoder.hidden_size**2
    return model.layer_logits.element_size() * (4 * moving + _moving_layers(model) * projections)


def state_bytes(model: EmotionRecognizer, k: int) -> int:
    """Estimate the memory of the pooled states of `k` clips: the states, the standardized ones and their
    gradient."""
    states = k * (model.encoder.num_layers + 1) * model.encoder.hidden_size
    return model.layer_logits.element_size() * 3 * states


def _moving_layers(model: EmotionRecognizer) -> int:
    return model.encoder.num_layers - (model.lowest_layer or 0)
