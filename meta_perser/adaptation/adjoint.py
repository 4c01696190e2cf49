"""The inner loop differentiated by its adjoint: keeps the weights of every step, and the graph of none.

The forward pass is theta_{s+1} = theta_s - alpha_s * g_s with g_s = grad L(theta_s). The adjoint
v_s = d outer / d theta_s then obeys, from v_S down to v_0,

    v_s               = v_{s+1} - H_s (alpha_s * v_{s+1}) + w_s grad W(theta_s)
    d outer/d alpha_s = - <g_s, v_{s+1}>, tensor by tensor

where H_s is the Hessian of L at theta_s, and w_s the weight of the outer loss W at theta_s (multi-step loss).
A second-order step costs one Hessian-vector product; a first-order step none (H_s counts as 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from meta_perser.adaptation.adaptation_loss import Weights, WeightsLoss
from meta_perser.adaptation.step_schedule import StepSchedule


def adjoint_inner_loop(
    loss: WeightsLoss,
    first_order_loss: WeightsLoss,
    theta: Weights,
    alpha: Tensor,
    schedule: StepSchedule,
    outer_loss: WeightsLoss | None = None,
) -> tuple[Weights, Tensor]:
    """Return the same as `inner_loop.inner_loop`, in the memory of a single step's graph.

    Gradients reach `theta` and `alpha` (S, num_tensors), and nothing else that the losses may read. Forwards,
    every step is of first order and uses `first_order_loss`.
    """
    problem = _Problem(loss, first_order_loss, outer_loss, schedule, tuple(theta))
    multi_step_loss, *adapted = _Adjoint.apply(problem, alpha, *theta.values())
    return dict(zip(theta, adapted, strict=True)), multi_step_loss


@dataclass(frozen=True)
class _Problem:
    """All that the inner loop depends on and that gets no gradient."""

    loss: WeightsLoss
    first_order_loss: WeightsLoss
    outer_loss: WeightsLoss | None
    schedule: StepSchedule
    names: tuple[str, ...]

    def named(self, tensors: Sequence[Tensor]) -> Weights:
        return dict(zip(self.names, tensors, strict=True))


class _Adjoint(torch.autograd.Function):
    """(multi-step loss, *theta_S) as a function of (problem, alpha, *theta_0)."""

    @staticmethod
    def forward(ctx: Any, problem: _Problem, alpha: Tensor, *theta: Tensor) -> tuple[Tensor, ...]:
        outer_loss, schedule = problem.outer_loss, problem.schedule
        saved: list[Tensor] = []
        theta_s = [tensor.detach() for tensor in theta]
        multi_step_loss = alpha.new_zeros(())
        for second_order, w_s, alpha_s in zip(
            schedule.second_order, schedule.step_loss_weights, alpha, strict=True
        ):
            leaves = _leaves(theta_s)
            with torch.enable_grad():
                value = problem.first_order_loss(problem.named(leaves))
                g_s = outer_gradient = torch.autograd.grad(value, leaves)
                if w_s and outer_loss is not None:
                    value = outer_loss(problem.named(leaves))
                    outer_gradient = None if second_order else torch.autograd.grad(value, leaves)
            if w_s:
                multi_step_loss = multi_step_loss + w_s * value.detach()
            # Backwards, a second-order step is computed again from its weights; of a first-order step, the
            # gradients suffice.
            saved += theta_s if second_order else [*g_s, *(outer_gradient if w_s else [])]
            theta_s = [
                tensor - rate * gradient for tensor, rate, gradient in zip(theta_s, alpha_s, g_s, strict=True)
            ]
            # Autocast remembers its copies of leaves, and so every step's weights, until it ends.
            torch.clear_autocast_cache()
        ctx.problem = problem
        ctx.autocast = _current_autocast(alpha.device.type)
        ctx.save_for_backward(alpha, *saved)
        return multi_step_loss, *theta_s

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, multi_step_gradient: Tensor, *v: Tensor) -> tuple[Tensor | None, ...]:
        problem: _Problem = ctx.problem
        count = len(problem.names)
        alpha, *saved = ctx.saved_tensors
        alpha_gradient = torch.zeros_like(alpha)
        for s in reversed(range(len(alpha))):
            w_s = problem.schedule.step_loss_weights[s]
            if problem.schedule.second_order[s]:
                theta_s = problem.named(_leaves(_pop(saved, count)))
                outer_weight = w_s * multi_step_gradient if w_s else None
                with torch.autocast(**ctx.autocast):
                    g_s, change = _second_order_change(problem, theta_s, alpha[s], v, outer_weight)
                torch.clear_autocast_cache()  # as above, if this runs within autocast
            else:
                change = (
                    [w_s * multi_step_gradient * gradient for gradient in _pop(saved, count)] if w_s else None
                )
                g_s = _pop(saved, count)
            alpha_gradient[s] = -torch.stack(
                [(gradient * v_next).sum() for gradient, v_next in zip(g_s, v, strict=True)]
            )
            if change is not None:
                v = [v_next + more for v_next, more in zip(v, change, strict=True)]
        return None, alpha_gradient if ctx.needs_input_grad[1] else None, *v


def _second_order_change(
    problem: _Problem, theta_s: Weights, alpha_s: Tensor, v: Sequence[Tensor], outer_weight: Tensor | None
) -> tuple[list[Tensor], list[Tensor]]:
    """Return g_s, and v_s - v_{s+1} = -H_s (alpha_s * v_{s+1}) + outer_weight * grad W(theta_s).

    The latter is the gradient at theta_s of -<g_s, alpha_s * v_{s+1}> + outer_weight * W(theta_s).
    """
    leaves = list(theta_s.values())
    with torch.enable_grad():
        value = problem.loss(theta_s)
        g_s = torch.autograd.grad(value, leaves, create_graph=True)
        products = zip(g_s, alpha_s, v, strict=True)
        scalar = -sum((gradient * (rate * v_next)).sum() for gradient, rate, v_next in products)
        if outer_weight is not None:
            outer_value = value if problem.outer_loss is None else problem.outer_loss(theta_s)
            scalar = scalar + outer_weight * outer_value
        change = torch.autograd.grad(scalar, leaves, materialize_grads=True)
    return [gradient.detach() for gradient in g_s], list(change)


def _leaves(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().requires_grad_() for tensor in tensors]


def _pop(saved: list[Tensor], count: int) -> list[Tensor]:
    """Remove the last `count` tensors and return them."""
    taken = saved[-count:]
    del saved[-count:]
    return taken


def _current_autocast(device_type: str) -> dict[str, Any]:
    """Return the autocast settings of now, for the backward pass, which runs when they no longer hold."""
    return {
        "device_type": device_type,
        "dtype": torch.get_autocast_dtype(device_type),
        "enabled": torch.is_autocast_enabled(device_type),
    }
