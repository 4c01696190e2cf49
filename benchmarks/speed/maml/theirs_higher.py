"""One second-order step of MAML with the library `higher`, by its own README."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.speed.maml.case import RATE, Case, loss
from benchmarks.speed.maml.padded import HookFreeRecognizer, PaddedBatch


def outer_gradients(model: HookFreeRecognizer, batch: PaddedBatch, case: Case, steps: int) -> list[Tensor]:
    """Gradients of the outer loss with respect to everything that moves, in its order."""
    import higher

    optimizer = torch.optim.SGD(case.moving, lr=RATE)
    with higher.innerloop_ctx(model, optimizer, copy_initial_weights=False) as (fast, inner), case.autocast():
        for _ in range(steps):
            inner.step(loss(fast(*batch), case.targets))
        outer = loss(fast(*batch), case.targets)
    return list(torch.autograd.grad(outer, case.moving))
