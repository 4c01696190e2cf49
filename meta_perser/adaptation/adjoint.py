"""The inner loop differentiated by its adjoint: keeps the weights of every step, and the graph of none.

The forward pass is theta_{s+1} = theta_s - alpha_s * g_s with g_s = grad L(theta_s). The adjoint
v_s = d outer / d theta_s then obeys, from v_S down to v_0,

    v_s               = v_{s+1} - H_s (alpha_s * v_{s+1}) + w_s grad W(theta_s)
    d outer/d alpha_s = - <g_s, v_{s+1}>, tensor by tensor

where H_s is the Hessian of L at theta_s, and w_s the weight of the outer loss W at theta_s (multi-step loss).
A second-order step costs one Hessian-vector product; a first-order step none (H_s counts as 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from meta_perser.adaptation.adaptation_loss import Weights, WeightsLoss, parts_of
from meta_perser.adaptation.flat_weights import WeightLayout
from meta_perser.adaptation.step_schedule import StepSchedule


def adjoint_inner_loop(
    loss: WeightsLoss,
    first_order_loss: WeightsLoss,
    theta: Weights,
    alpha: Tensor,
    schedule: StepSchedule,
    outer_loss: WeightsLoss | None = None,
    on_host: bool = False,
) -> tuple[Weights, Tensor]:
    """Return the same as `inner_loop.inner_loop`, in the memory of a single step's graph.

    With `on_host` the weights of every step wait in the computer's main memory.

    Gradients reach `theta` and `alpha` (S, num_tensors), and nothing else that the losses may read. Forwards,
    every step is of first order and uses `first_order_loss`.
    """
    layout = WeightLayout(theta)
    problem = _Problem(loss, first_order_loss, outer_loss, schedule, layout, on_host)
    multi_step_loss, adapted = _Adjoint.apply(problem, alpha, layout.flatten(theta))
    return layout.weights(adapted), multi_step_loss


@dataclass(frozen=True)
class _Problem:
    """All that the inner loop depends on and that gets no gradient."""

    loss: WeightsLoss
    first_order_loss: WeightsLoss
    outer_loss: WeightsLoss | None
    schedule: StepSchedule
    layout: WeightLayout
    on_host: bool


class _Adjoint(torch.autograd.Function):
    """(multi-step loss, theta_S) as a function of (problem, alpha, theta_0); theta is a vector."""

    @staticmethod
    def forward(ctx: Any, problem: _Problem, alpha: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        outer_loss, schedule, layout = problem.outer_loss, problem.schedule, problem.layout
        saved: list[Tensor] = []
        theta_s = theta.detach()
        multi_step_loss = alpha.new_zeros(())
        for second_order, w_s, alpha_s in zip(
            schedule.second_order, schedule.step_loss_weights, alpha, strict=True
        ):
            leaf = theta_s.detach().requires_grad_()
            with torch.enable_grad():
                value = problem.first_order_loss(layout.weights(leaf))
                (g_s,) = torch.autograd.grad(value, leaf)
                outer_gradient = g_s
                if w_s and outer_loss is not None:
                    value = outer_loss(layout.weights(leaf))
                    if not second_order:
                        (outer_gradient,) = torch.autograd.grad(value, leaf)
            if w_s:
                multi_step_loss = multi_step_loss + w_s * value.detach()
            # Backwards, a second-order step is computed again from its weights; of a first-order step, the
            # gradients suffice.
            kept = [theta_s] if second_order else [g_s, *([outer_gradient] if w_s else [])]
            saved += [tensor.cpu() for tensor in kept] if problem.on_host else kept
            theta_s = layout.step(theta_s, alpha_s, g_s)
            # Autocast remembers its copies of leaves, and so every step's weights, until it ends.
            torch.clear_autocast_cache()
        ctx.problem = problem
        ctx.autocast = _current_autocast(alpha.device.type)
        ctx.save_for_backward(alpha, *saved)
        return multi_step_loss, theta_s

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, multi_step_gradient: Tensor, v: Tensor) -> tuple[Tensor | None, ...]:
        problem: _Problem = ctx.problem
        alpha, *saved = ctx.saved_tensors
        alpha_gradient = torch.zeros_like(alpha) if ctx.needs_input_grad[1] else None
        for s in reversed(range(len(alpha))):
            w_s = problem.schedule.step_loss_weights[s]
            change: Tensor | None
            if problem.schedule.second_order[s]:
                theta_s = saved.pop().to(v.device).detach().requires_grad_()
                outer_weight = w_s * multi_step_gradient if w_s else None
                with torch.autocast(**ctx.autocast):
                    g_s, change = _second_order_change(problem, theta_s, alpha[s], v, outer_weight)
                torch.clear_autocast_cache()  # as above, if this runs within autocast
            else:
                change = w_s * multi_step_gradient * saved.pop().to(v.device) if w_s else None
                g_s = saved.pop().to(v.device)
            if alpha_gradient is not None:
                alpha_gradient[s] = -problem.layout.sums(g_s * v)
            if change is not None:
                v = v + change
        return None, alpha_gradient, v


def _second_order_change(
    problem: _Problem, theta_s: Tensor, alpha_s: Tensor, v: Tensor, outer_weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return g_s, and v_s - v_{s+1} = -H_s (alpha_s * v_{s+1}) + outer_weight * grad W(theta_s).

    The latter is the gradient at theta_s of -<g_s, alpha_s * v_{s+1}> + outer_weight * W(theta_s). Where the
    loss is in parts, both are sums over them.
    """
    direction = problem.layout.expand(alpha_s) * v
    gradient, change = torch.zeros_like(v), torch.zeros_like(v)
    for part in parts_of(problem.loss):
        own_gradient, own_change = _change_of_part(problem, part, theta_s, direction, outer_weight)
        gradient, change = gradient + own_gradient, change + own_change
    if outer_weight is not None and problem.outer_loss is not None:
        with torch.enable_grad():
            value = problem.outer_loss(problem.layout.weights(theta_s))
            (outer_gradient,) = torch.autograd.grad(value, theta_s)
        change = change + outer_weight * outer_gradient
    return gradient, change


def _change_of_part(
    problem: _Problem, part: WeightsLoss, theta_s: Tensor, direction: Tensor, outer_weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return what a part of the loss adds to both; `outer_weight` counts where W is the loss itself."""
    with torch.enable_grad():
        weights = problem.layout.weights(theta_s)
        value = part(weights)
        (g_s,) = torch.autograd.grad(value, theta_s, create_graph=True)
        scalar = -(g_s * direction).sum()
        if outer_weight is not None and problem.outer_loss is None:
            scalar = scalar + outer_weight * value
        (change,) = torch.autograd.grad(scalar, theta_s, materialize_grads=True)
    return g_s.detach(), change


def _current_autocast(device_type: str) -> dict[str, Any]:
    """Return the autocast settings of now, for the backward pass, which runs when they no longer hold."""
    return {
        "device_type": device_type,
        "dtype": torch.get_autocast_dtype(device_type),
        "enabled": torch.is_autocast_enabled(device_type),
    }
