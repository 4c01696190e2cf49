"""Attention of learned queries over a clip's windows."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class CrossAttention(nn.Module):
    """Multi-head attention of queries over other vectors.

    Args:
        width: Width of the queries and of the result; a multiple of `heads`.
        size: Width of what is looked over.
        heads: Heads.
    """

    def __init__(self, width: int, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(size, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, over: Tensor, mask: Tensor | None = None) -> Tensor:
        """Queries (B, Q, W) over (B, T, D), mask (B, T) True where there is something, to (B, Q, W)."""

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
