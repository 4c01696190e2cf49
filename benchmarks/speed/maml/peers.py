"""What one would use instead: the library `higher`, a plain MAML loop, and a plain fine-tuning loop."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from benchmarks.speed.maml.case import RATE, MamlCase, loss
from benchmarks.speed.maml.padded import HookFreeRecognizer, PaddedBatch, PaddedRecognizer


def higher_gradients(
    model: HookFreeRecognizer, batch: PaddedBatch, case: MamlCase, steps: int
) -> list[Tensor]:
    """Take one second-order step with the library `higher`, as its README shows.

    Returns the gradients of the outer loss with respect to everything that adapts, in its order.
    """
    import higher

    optimizer = torch.optim.SGD(case.moving, lr=RATE)
    with higher.innerloop_ctx(model, optimizer, copy_initial_weights=False) as (fast, inner), case.autocast():
        for _ in range(steps):
            inner.step(loss(fast(*batch), case.targets))
        outer = loss(fast(*batch), case.targets)
    return list(torch.autograd.grad(outer, case.moving))


def plain_maml_gradients(
    model: PaddedRecognizer, batch: PaddedBatch, case: MamlCase, steps: int
) -> list[Tensor]:
    """Take one second-order step in plain PyTorch with fast weights, as well-known repositories write it.

    Returns the gradients of the outer loss with respect to everything that adapts, in its order.
    """
    fast: dict[str, Tensor] = dict(case.model.trainable_parameters())
    with case.autocast():
        for _ in range(steps):
            value = loss(functional_call(model, fast, batch), case.targets)
            gradients = torch.autograd.grad(value, list(fast.values()), create_graph=True)
            fast = {
                name: weight - RATE * gradient
                for (name, weight), gradient in zip(fast.items(), gradients, strict=True)
            }
        outer = loss(functional_call(model, fast, batch), case.targets)
    return list(torch.autograd.grad(outer, case.moving))


def fine_tune(model: PaddedRecognizer, batch: PaddedBatch, case: MamlCase, steps: int) -> list[Tensor]:
    """Adapt by a transformers model, an optimizer, and the padded support as one batch.

    Returns the weights that moved after `steps` steps; the model gets its own back afterwards. The front-end
    and, if the head alone moves, the trunk are frozen (requires_grad False), so that no step goes backwards
    through them. Attention is transformers' default.
    """
    before = [parameter.detach().clone() for parameter in case.moving]
    model.encoder.set_attention("sdpa")
    optimizer = torch.optim.SGD(case.moving, lr=RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        with case.autocast():
            value = loss(model(*batch), case.targets)
        value.backward()
        optimizer.step()
    optimizer.zero_grad()
    model.encoder.set_attention("eager")
    after = [parameter.detach().clone() for parameter in case.moving]
    with torch.no_grad():
        for parameter, value in zip(case.moving, before, strict=True):
            parameter.copy_(value)
    return after
