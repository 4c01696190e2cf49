"""Meta-testing as plain fine-tuning: a transformers model, an optimizer, the padded support as one batch."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.speed.maml.case import RATE, Case, loss
from benchmarks.speed.maml.padded import PaddedBatch, PaddedRecognizer


def fine_tune(model: PaddedRecognizer, batch: PaddedBatch, case: Case, steps: int) -> list[Tensor]:
    """The weights that moved after `steps` steps; the model has its own again afterwards.

    The front-end and, where the head alone moves, the trunk are frozen (requires_grad False), so no step goes
    backwards through them. Attention is transformers' default.
    """
    before = [one.detach().clone() for one in case.moving]
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
    after = [one.detach().clone() for one in case.moving]
    with torch.no_grad():
        for one, value in zip(case.moving, before, strict=True):
            one.copy_(value)
    return after
