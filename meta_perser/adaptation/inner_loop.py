"""The inner loop of MAML: theta_i = theta - alpha * grad L(theta, T_i), S times (Meta-PerSER 2.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from meta_perser.adaptation.adjoint import adjoint_inner_loop
from meta_perser.adaptation.lslr import Rates
from meta_perser.adaptation.step_schedule import InnerPlan, Weights, WeightsLoss
from meta_perser.options import Memory
from meta_perser.recognizer.clip_batch import ClipBatch
from perser.encoders.encoder import Attention, use_attention

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, C), target distributions (B, C)) -> scalar."""


def inner_loop(
    loss: WeightsLoss,
    weights: Weights,
    rates: Tensor,
    plan: InnerPlan,
    watched: WeightsLoss | None = None,
    memory: Memory = "unroll",
    once: WeightsLoss | None = None,
) -> tuple[Weights, Tensor]:
    """theta_S, and the sum over steps of plan.path_weights[s] * watched(theta_s).

    Both stay connected to `weights` (the moving tensors to start from) and to `rates` (S, num_weights), so
    that an outer loss can flow back; through the gradients too at steps of second order. `watched`: none:
    `loss` itself, whose values cost nothing more. `memory`: see `meta_perser.options.InnerOptions`. `once`:
    `loss` by a quicker way that can be differentiated but once, which is taken wherever that will do; none:
    there is no such way. `watched` is never differentiated twice.
    """
    once = once or loss
    if memory == "adjoint":
        return adjoint_inner_loop(loss, once, weights, rates, plan, watched)
    names, current = list(weights), list(weights.values())
    path = rates.new_zeros(())
    for second_order, share, rate in zip(plan.second_order, plan.path_weights, rates, strict=True):

        def step(
            rate: Tensor, *current: Tensor, second_order: bool = second_order, share: float = share
        ) -> tuple[Tensor, ...]:
            own = loss if second_order else once
            return _step(own, watched, dict(zip(names, current, strict=True)), rate, second_order, share)

        if memory == "checkpoint" and (second_order or share):
            # Around the whole step: recomputed inside functional_call, it would read the slow weights.
            added, *current = checkpoint(step, rate, *current, use_reentrant=False, preserve_rng_state=False)
        else:
            added, *current = step(rate, *current)
        path = path + added
    return dict(zip(names, current, strict=True)), path


def _step(
    loss: WeightsLoss,
    watched: WeightsLoss | None,
    weights: Weights,
    rate: Tensor,
    second_order: bool,
    share: float,
) -> tuple[Tensor, ...]:
    """(share * watched(theta_s), *theta_{s+1}) of theta_s."""
    value = loss(weights)
    current = list(weights.values())
    graph_is_needed = second_order or bool(share)
    gradients = torch.autograd.grad(value, current, create_graph=second_order, retain_graph=graph_is_needed)
    added = share * (value if watched is None else watched(weights)) if share else value.new_zeros(())
    moved = [one - of * slope for one, of, slope in zip(current, rate, gradients, strict=True)]
    return added, *moved


def loss_on(
    model: nn.Module,
    loss: LossFunction,
    batch: ClipBatch,
    targets: Tensor,
    attention: Attention = "eager",
) -> WeightsLoss:
    """The loss of the model on these clips, as a function of its moving weights; with the attention `sdpa` it
    can be differentiated but once.

    Under autocast the model alone runs in lower precision: the loss, like weights and rates, does not.
    """

    def of_weights(weights: Weights) -> Tensor:
        with use_attention(model, attention):
            logits = functional_call(model, weights, (batch,))
        with torch.autocast(logits.device.type, enabled=False):
            return loss(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets)

    return of_weights


def adapt(
    model: nn.Module,
    rates: Rates,
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
    with use_attention(model, "sdpa"):  # switched once, not at every step
        return _descend(loss_on(model, loss, batch, targets, attention="sdpa"), weights, rates, steps)


def _descend(own_loss: WeightsLoss, weights: Weights, rates: Rates, steps: int) -> Weights:
    before = weights
    for step in range(steps):
        leaves = {name: one.requires_grad_() for name, one in weights.items()}
        value = own_loss(leaves)
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
        finite = own_loss(weights).isfinite()
    return _detached(weights if finite else before)


def _detached(weights: Weights) -> Weights:
    return {name: one.detach() for name, one in weights.items()}
