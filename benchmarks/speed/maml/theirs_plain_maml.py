"""One second-order step of MAML in plain PyTorch with fast weights, as well-known repositories write it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from benchmarks.speed.maml.case import RATE, Case, loss
from benchmarks.speed.maml.padded import PaddedBatch, PaddedRecognizer


def outer_gradients(model: PaddedRecognizer, batch: PaddedBatch, case: Case, steps: int) -> list[Tensor]:
    """Gradients of the outer loss with respect to everything that moves, in its order."""
    fast = dict(case.model.moving_parameters())
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
