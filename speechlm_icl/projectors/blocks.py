"""Layers that several projectors share: a norm, a gated MLP and cross-attention."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """RMSNorm of torch, computed in its weight's precision.

    Under autocast its input is bf16. With a float32 weight, torch has no fused kernel for that, and warns.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.to(self.weight.dtype)).to(inputs.dtype)


class SwiGLU(nn.Module):
    """The gated MLP W3 (silu(W1 x) * W2 x) of Shazeer 2020 (arXiv 2002.05202), with dropout before W3."""

    def __init__(self, size_in: int, width: int, size_out: int, dropout: float) -> None:
        super().__init__()
        self.gate = nn.Linear(size_in, width, bias=False)
        self.up = nn.Linear(size_in, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(width, size_out, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.down(self.dropout(F.silu(self.gate(inputs)) * self.up(inputs)))


class CrossAttention(nn.Module):
    """Multi-head attention of queries to other vectors.

    Args:
        width: Width of the queries and of the output; a multiple of `heads`.
        size: Width of the vectors that are attended to.
        heads: Number of heads.
    """

    def __init__(self, width: int, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(size, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, over: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map queries (B, Q, W) and vectors `over` (B, T, D) to (B, Q, W); mask (B, T) False on padding."""

        def split(states: Tensor) -> Tensor:
            return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        keys, values = self.key_value(over).chunk(2, dim=-1)
        attended = F.scaled_dot_product_attention(
            split(self.query(queries)),
            split(keys),
            split(values),
            attn_mask=None if mask is None else mask[:, None, None, :],
        )
        return self.out(attended.transpose(1, 2).flatten(2))
