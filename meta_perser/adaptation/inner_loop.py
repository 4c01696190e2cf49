"""The inner loop of MAML: theta_{s+1} = theta_s - alpha_s * grad L(theta_s), S times (Meta-PerSER 2.3).

`inner_loop` can be differentiated (meta-training); `adapt` cannot, and needs less memory (meta-testing).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from meta_perser.adaptation.adaptation_loss import LossFunction, Weights, WeightsLoss, loss_on
from meta_perser.adaptation.adjoint import adjoint_inner_loop
from meta_perser.adaptation.flat_weights import WeightLayout
from meta_perser.adaptation.lslr import Rates
from meta_perser.adaptation.step_schedule import StepSchedule
from meta_perser.options import Memory
from meta_perser.recognizer.clip_batch import ClipBatch
from perser.device import is_gpu
from perser.training.checkpoint import moving_parameters

STEPS_PER_CHECK = 10
"""Inner steps on a GPU between two looks at whether the loss is finite: the program waits for the GPU there,
and the GPU then waits for the program."""


def inner_loop(
    loss: WeightsLoss,
    theta: Weights,
    alpha: Tensor,
    schedule: StepSchedule,
    outer_loss: WeightsLoss | None = None,
    memory: Memory = "unroll",
    first_order_loss: WeightsLoss | None = None,
) -> tuple[Weights, Tensor]:
    """Return theta_S, and the multi-step loss: the sum over s = 0 .. S - 1 of w_s * outer_loss(theta_s).

    Both stay connected to `theta` (the weights to start from) and `alpha`, so that an outer loss can be
    differentiated by them; through g_s = grad L(theta_s) too, where step s is of second order.

    Args:
        loss: L, which the steps descend.
        theta: theta_0.
        alpha: the rate of each step and tensor, (S, num_tensors), in the order of `theta`.
        schedule: order and weight w_s of each step.
        outer_loss: the loss on the query. None: `loss` itself (CSMT), whose values at theta_s cost nothing.
        memory: see `meta_perser.options.InnerOptions`.
        first_order_loss: `loss` computed faster, but differentiable only once; used in first-order steps.
            None: `loss`.
    """
    first_order_loss = first_order_loss or loss
    if memory != "unroll":
        on_host = memory == "adjoint_host"
        return adjoint_inner_loop(loss, first_order_loss, theta, alpha, schedule, outer_loss, on_host)
    layout = WeightLayout(theta)
    theta_s = layout.flatten(theta)
    multi_step_loss = alpha.new_zeros(())
    for second_order, w_s, alpha_s in zip(
        schedule.second_order, schedule.step_loss_weights, alpha, strict=True
    ):
        weights = layout.weights(theta_s)
        value = (loss if second_order else first_order_loss)(weights)
        graph_is_needed = second_order or bool(w_s)
        (g_s,) = torch.autograd.grad(value, theta_s, create_graph=second_order, retain_graph=graph_is_needed)
        if w_s:
            multi_step_loss = multi_step_loss + w_s * (value if outer_loss is None else outer_loss(weights))
        theta_s = layout.step(theta_s, alpha_s, g_s)
    return layout.weights(theta_s), multi_step_loss


def adapt(
    model: nn.Module,
    rates: Rates,
    batch: ClipBatch,
    targets: Tensor,
    loss: LossFunction,
    steps: int,
    start: Weights | None = None,
) -> Weights:
    """Return the adapted weights theta_S, detached; the graph of each step is freed when it ends.

    `start`: theta_0; None: the model's own weights. Tensors whose rates are all 0 stay as they are, and cost
    nothing on a CPU. Where the rates are too large for a support, so that the loss stops being finite, return
    the last weights with a finite loss: one person's divergence must not end a benchmark.
    """
    start = dict(moving_parameters(model)) if start is None else start
    start = {name: tensor.detach() for name, tensor in start.items()}
    alpha = rates.table(steps).detach()
    gpu = is_gpu(targets.device)  # reading a value there would wait for all that it still has to do
    moves = [True] * len(start) if gpu or not steps else alpha.any(dim=0).tolist()
    moving = {name: start[name] for name, does in zip(start, moves, strict=True) if does}
    if not moving:
        return start
    layout = WeightLayout(moving)
    support_loss = loss_on(model, loss, batch, targets, attention="sdpa")
    descent = _Descent(
        lambda theta: support_loss({**start, **layout.weights(theta)}),
        layout,
        alpha if all(moves) else alpha[:, moves],
    )
    check_every = STEPS_PER_CHECK if gpu else 1
    adapted = layout.weights(descent.run(layout.flatten(moving), range(steps), check_every))
    return {**start, **adapted}


@dataclass(frozen=True)
class _Descent:
    """Gradient steps on one loss, of the weights as a vector."""

    loss: Callable[[Tensor], Tensor]
    layout: WeightLayout
    alpha: Tensor
    """The rate of each step and tensor, (S, num_tensors)."""

    def run(self, theta: Tensor, steps: range, check_every: int) -> Tensor:
        """Return the weights after these steps, or the last ones with a finite loss.

        Losses are looked at `check_every` steps at a time. Where one is not finite, the steps since the last
        look are taken again, one by one.
        """
        checked_step, checked, losses = steps.start, theta, list[Tensor]()
        previous = theta

        def all_finite() -> bool:
            finite = bool(torch.stack(losses).isfinite().all())
            losses.clear()
            return finite

        def last_finite() -> Tensor:
            return previous if check_every == 1 else self.run(checked, range(checked_step, steps.stop), 1)

        for step in steps:
            leaf = theta.detach().requires_grad_()
            value = self.loss(leaf)
            losses.append(value.detach())
            if len(losses) == check_every:
                if not all_finite():
                    return last_finite()
                checked_step, checked = step, theta
            (gradient,) = torch.autograd.grad(value, leaf)
            previous = theta
            with torch.no_grad():
                theta = self.layout.step(theta, self.alpha[step], gradient)
        with torch.no_grad():
            losses.append(self.loss(theta))
        return theta if all_finite() else last_finite()
