"""The inner loop of MAML: theta_i = theta - alpha * grad L(theta, T_i), S times (Meta-PerSER 2.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from meta_perser.lslr import ConstantRate, LearnedRates
from meta_perser.model import ClipBatch

Weights = dict[str, Tensor]
LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, C), target distributions (B, C)) -> scalar."""


def inner_loop(
    model: nn.Module,
    weights: Weights,
    rates: LearnedRates | ConstantRate,
    batch: ClipBatch,
    targets: Tensor,
    loss: LossFunction,
    steps: int,
    second_order: bool,
) -> Weights:
    """The weights after `steps` gradient steps on one person's support.

    `weights`: the moving tensors to start from, by name; the result is a new dict that stays connected to
    them and to `rates` (through the gradients too when `second_order`), so an outer loss can flow back.
    """
    for step in range(steps):
        predicted = functional_call(model, weights, (batch,))
        gradients = torch.autograd.grad(
            loss(predicted, targets), list(weights.values()), create_graph=second_order
        )
        rate = rates.at(step)
        weights = {
            name: weight - rate[name] * gradient
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
    return weights


def adapt(
    model: nn.Module,
    rates: LearnedRates | ConstantRate,
    batch: ClipBatch,
    targets: Tensor,
    loss: LossFunction,
    steps: int,
    start: Weights | None = None,
) -> Weights:
    """Meta-testing: the adapted weights alone, detached, the graph of each step freed as it ends.

    `start`: the weights before the first step; None: the model's own.
    Where the steps are too large for a support and the loss stops being finite, the last weights with a
    finite loss are given: one person's bad luck must not end a benchmark.
    """
    weights = _detached(model.moving_parameters() if start is None else start)
    before = weights
    for step in range(steps):
        leaves = {name: one.requires_grad_() for name, one in weights.items()}
        value = loss(functional_call(model, leaves, (batch,)), targets)
        if not value.isfinite():
            return _detached(before)
        gradients = torch.autograd.grad(value, list(leaves.values()))
        rate = rates.at(step)
        before = leaves
        with torch.no_grad():
            weights = {
                name: leaf - rate[name] * gradient
                for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
            }
    with torch.no_grad():
        finite = loss(functional_call(model, weights, (batch,)), targets).isfinite()
    return _detached(weights if finite else before)


def _detached(weights: Weights) -> Weights:
    return {name: one.detach() for name, one in weights.items()}
