"""The inner loop by its adjoint: every step's weights are kept, and no step's graph.

Backwards through theta_{s+1} = theta_s - alpha_s * g_s with g_s = grad L(theta_s), the adjoint
v_s = d outer / d theta_s obeys, from v_S on down,

    v_s       = v_{s+1} - H_s (alpha_s * v_{s+1}) + w_s grad W(theta_s)
    d alpha_s = - <g_s, v_{s+1}>, tensor by tensor

with H_s the Hessian of L at theta_s, and w_s the weight of a watched loss W on the way (multi-step loss).
One Hessian-vector product a step, none where a step is first order (H_s counts as 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from meta_perser.adaptation.step_schedule import InnerPlan, Weights, WeightsLoss


def adjoint_inner_loop(
    loss: WeightsLoss,
    once: WeightsLoss,
    weights: Weights,
    rates: Tensor,
    plan: InnerPlan,
    watched: WeightsLoss | None = None,
) -> tuple[Weights, Tensor]:
    """The same as `inner_loop.inner_loop`, with the memory of a single step's graph.

    Gradients reach `weights` and `rates` (S, num_weights), and nothing else that the losses may read. The
    forward pass is of first order throughout: there `once` stands for `loss`.
    """
    path, *adapted = _Adjoint.apply((loss, once, watched, plan, list(weights)), rates, *weights.values())
    return dict(zip(weights, adapted, strict=True)), path


class _Adjoint(torch.autograd.Function):
    """(path loss, *theta_S) of (loop, rates, *theta_0); `loop` is (loss, loss to be differentiated once,
    watched loss, plan, names)."""

    @staticmethod
    def forward(ctx: Any, loop: tuple, rates: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        _, once, watched, plan, names = loop
        kept: list[Tensor] = []
        current = [one.detach() for one in weights]
        path = rates.new_zeros(())
        for second_order, share, rate in zip(plan.second_order, plan.path_weights, rates, strict=True):
            leaves = _leaves(current)
            with torch.enable_grad():
                value = once(dict(zip(names, leaves, strict=True)))
                gradients = pull = torch.autograd.grad(value, leaves)
                if share and watched is not None:
                    value = watched(dict(zip(names, leaves, strict=True)))
                    pull = None if second_order else torch.autograd.grad(value, leaves)
            if share:
                path = path + share * value.detach()
            # A first-order step is passed backwards by its gradients alone, a second-order one is run again.
            kept += current if second_order else [*gradients, *(pull if share else [])]
            current = [one - of * slope for one, of, slope in zip(current, rate, gradients, strict=True)]
        ctx.loop = loop
        ctx.autocast = _autocast_of(rates.device.type)
        ctx.save_for_backward(rates, *kept)
        return path, *current

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, path: Tensor, *adjoint: Tensor) -> tuple[Tensor | None, ...]:
        loss, _, watched, plan, names = ctx.loop
        rates, *kept = ctx.saved_tensors
        slopes = torch.zeros_like(rates)
        for step in reversed(range(len(rates))):
            share, rate = plan.path_weights[step], rates[step]
            if plan.second_order[step]:
                weights = _take(kept, len(names))
                with torch.autocast(**ctx.autocast):
                    gradients, pull = _second_order_pull(
                        loss,
                        watched or loss,
                        dict(zip(names, _leaves(weights), strict=True)),
                        rate,
                        adjoint,
                        share * path if share else None,
                    )
            else:
                pull = [share * path * one for one in _take(kept, len(names))] if share else None
                gradients = _take(kept, len(names))
            inner = [(one * of).sum() for one, of in zip(gradients, adjoint, strict=True)]
            slopes[step] = -torch.stack(inner)
            if pull is not None:
                adjoint = [one + more for one, more in zip(adjoint, pull, strict=True)]
        return None, slopes if ctx.needs_input_grad[1] else None, *adjoint


def _second_order_pull(
    loss: WeightsLoss,
    watched: WeightsLoss,
    weights: Weights,
    rate: Tensor,
    adjoint: Sequence[Tensor],
    share: Tensor | None,
) -> tuple[list[Tensor], list[Tensor]]:
    """g_s, and -H_s (alpha_s * v) + share * grad W(theta_s): the gradient at theta_s of a scalar that is
    linear in g_s."""
    leaves = list(weights.values())
    with torch.enable_grad():
        value = loss(weights)
        gradients = torch.autograd.grad(value, leaves, create_graph=True)
        along = zip(gradients, rate, adjoint, strict=True)
        scalar = -sum((slope * (of * one)).sum() for slope, of, one in along)
        if share is not None:
            scalar = scalar + share * (value if watched is loss else watched(weights))
        pull = torch.autograd.grad(scalar, leaves, materialize_grads=True)
    return [one.detach() for one in gradients], list(pull)


def _leaves(weights: Sequence[Tensor]) -> list[Tensor]:
    return [one.detach().requires_grad_() for one in weights]


def _take(kept: list[Tensor], count: int) -> list[Tensor]:
    """The last `count` of what is kept, which are let go."""
    taken = kept[-count:]
    del kept[-count:]
    return taken


def _autocast_of(device_type: str) -> dict[str, Any]:
    """The precision that holds now, for a backward pass that runs when it no longer does."""
    return {
        "device_type": device_type,
        "dtype": torch.get_autocast_dtype(device_type),
        "enabled": torch.is_autocast_enabled(device_type),
    }
