"""The gated layer that several projectors end with."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SwiGLU(nn.Module):
    """x to W3 (silu(W1 x) * W2 x) (Shazeer 2020, arXiv 2002.05202), with dropout before W3."""

    def __init__(self, size_in: int, width: int, size_out: int, dropout: float) -> None:
        super().__init__()
        self.gate = nn.Linear(size_in, width, bias=False)
        self.up = nn.Linear(size_in, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(width, size_out, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.down(self.dropout(F.silu(self.gate(inputs)) * self.up(inputs)))
