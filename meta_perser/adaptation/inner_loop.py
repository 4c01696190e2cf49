"""The inner loop of MAML: theta_{s+1} = theta_s - alpha_s * grad L(theta_s), S times (Meta-PerSER 2.3).

`inner_loop` can be differentiated (meta-training); `adapt` cannot, and needs less memory (meta-testing).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from meta_perser.adaptation.adaptation_loss import LossFunction, Weights, WeightsLoss, loss_on
from meta_perser.adaptation.adjoint import adjoint_inner_loop
from meta_perser.adaptation.lslr import Rates
from meta_perser.adaptation.step_schedule import StepSchedule
from meta_perser.options import Memory
from meta_perser.recognizer.clip_batch import ClipBatch
from perser.device import is_gpu
from perser.encoders.encoder import use_attention

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
    if memory == "adjoint":
        return adjoint_inner_loop(loss, first_order_loss, theta, alpha, schedule, outer_loss)
    multi_step_loss = alpha.new_zeros(())
    for second_order, w_s, alpha_s in zip(
        schedule.second_order, schedule.step_loss_weights, alpha, strict=True
    ):
        value = (loss if second_order else first_order_loss)(theta)
        graph_is_needed = second_order or bool(w_s)
        g_s = torch.autograd.grad(
            value, list(theta.values()), create_graph=second_order, retain_graph=graph_is_needed
        )
        if w_s:
            multi_step_loss = multi_step_loss + w_s * (value if outer_loss is None else outer_loss(theta))
        theta = {
            name: tensor - rate * gradient
            for (name, tensor), rate, gradient in zip(theta.items(), alpha_s, g_s, strict=True)
        }
    return theta, multi_step_loss


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

    `start`: theta_0; None: the model's own weights. Where the rates are too large for a support, so that the
    loss stops being finite, return the last weights with a finite loss: one person's divergence must not end
    a benchmark.
    """
    theta = _detached(model.trainable_parameters() if start is None else start)
    check_every = STEPS_PER_CHECK if is_gpu(targets.device) else 1
    with use_attention(model, "sdpa"):  # switched once, not at every step
        support_loss = loss_on(model, loss, batch, targets, attention="sdpa")
        return _descend(support_loss, theta, rates, range(steps), check_every)


def _descend(loss: WeightsLoss, theta: Weights, rates: Rates, steps: range, check_every: int) -> Weights:
    """Return the weights after these steps, or the last ones with a finite loss.

    Losses are looked at `check_every` steps at a time. Where one is not finite, the steps since the last look
    are taken again, one by one.
    """
    checked_step, checked, losses = steps.start, theta, []
    previous = theta

    def all_finite() -> bool:
        finite = bool(torch.stack(losses).isfinite().all())
        losses.clear()
        return finite

    def last_finite() -> Weights:
        if check_every == 1:
            return _detached(previous)
        return _descend(loss, _detached(checked), rates, range(checked_step, steps.stop), check_every=1)

    for step in steps:
        leaves = {name: tensor.requires_grad_() for name, tensor in theta.items()}
        value = loss(leaves)
        losses.append(value.detach())
        if len(losses) == check_every:
            if not all_finite():
                return last_finite()
            checked_step, checked = step, leaves
        gradients = torch.autograd.grad(value, list(leaves.values()))
        alpha = rates.at(step)
        previous = leaves
        with torch.no_grad():
            theta = {
                name: leaf - alpha[name] * gradient
                for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
            }
    with torch.no_grad():
        losses.append(loss(theta))
    return _detached(theta) if all_finite() else last_finite()


def _detached(theta: Weights) -> Weights:
    return {name: tensor.detach() for name, tensor in theta.items()}
