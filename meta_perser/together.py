"""Meta-testing of several persons at once, where only the head moves: each person's step is a few small
products, and torch.func.vmap makes one large product of them.

An adapting trunk gains nothing by it (its products are large already) and would need every person's clips
padded to one length, so such persons go one by one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from meta_perser.inner_loop import LossFunction, Weights
from meta_perser.lslr import ConstantRate, LearnedRates
from meta_perser.model import ClipBatch, EmotionRecognizer

MEMORY = 256 * 2**20
"""Bytes that the persons of one call may take, by `persons_at_once`."""


def adapt_together(
    model: EmotionRecognizer,
    starts: Weights,
    rates: LearnedRates | ConstantRate,
    states: Tensor,
    targets: Tensor,
    loss: LossFunction,
    steps: int,
) -> Weights:
    """What `inner_loop.adapt` gives for each of P persons, stacked: every tensor is (P, ...).

    `starts`: the weights before the first step, (P, ...); `states`: the supports' pooled hidden states
    (P, K, num_states, D); `targets`: (P, K, C). Whoever's loss stops being finite keeps the last weights with
    a finite one, and the others go on.
    """

    def one_loss(weights: Weights, own_states: Tensor, own_targets: Tensor) -> Tensor:
        return loss(functional_call(model, weights, (ClipBatch(own_states),)), own_targets)

    gradients_and_losses = vmap(grad_and_value(one_loss))
    weights = before = starts
    going = torch.ones(len(states), dtype=torch.bool, device=states.device)
    for step in range(steps):
        gradients, losses = gradients_and_losses(weights, states, targets)
        going = going & losses.isfinite()
        before = _chosen(going, weights, before)
        rate = rates.at(step)
        with torch.no_grad():
            moved = {name: one - rate[name] * gradients[name] for name, one in before.items()}
        weights = _chosen(going, moved, before)
    return _chosen(vmap(one_loss)(weights, states, targets).isfinite(), weights, before)


def persons_at_once(model: EmotionRecognizer, k: int) -> int:
    """How many persons' supports of `k` pairs fit into MEMORY: their states with as much again for the
    standardised ones and their gradient, and four copies of the weights."""
    states = k * (model.encoder.num_layers + 1) * model.encoder.hidden_size
    weights = sum(one.numel() for one in model.moving_parameters().values())
    bytes_each = model.layer_logits.element_size() * (3 * states + 4 * weights)
    return max(1, MEMORY // bytes_each)


def _chosen(first: Tensor, weights: Weights, others: Weights) -> Weights:
    """A person's tensors of `weights` where `first` (P,) is True, of `others` elsewhere."""
    return {
        name: torch.where(first.view(-1, *[1] * (one.ndim - 1)), one, others[name])
        for name, one in weights.items()
    }
