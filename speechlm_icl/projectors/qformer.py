"""`qformer`: learned queries look over each stretch of the clip."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechlm_icl.projectors.base import Clips, Projector, ProjectorOptions, Sizes
from speechlm_icl.projectors.blocks import CrossAttention, SwiGLU
from speechlm_icl.projectors.stack import stacked

LAYERS = 2
"""Layers of the Q-Former: SALMONN has 2."""


class QFormerProjector(Projector):
    """A window-level Q-Former (SALMONN, Tang et al. 2024, arXiv 2310.13289): `tokens_per_stretch` queries
    read each stretch of `windows_per_token` windows, apart from all others."""

    def __init__(self, sizes: Sizes, options: ProjectorOptions) -> None:
        super().__init__(sizes, options)
        self.norm = nn.LayerNorm(sizes.feature_size)
        self.queries = nn.Parameter(0.02 * torch.randn(options.tokens_per_stretch, options.width))
        self.places = nn.Parameter(torch.zeros(options.windows_per_token, sizes.feature_size))
        self.layers = nn.ModuleList(_Layer(sizes.feature_size, options) for _ in range(LAYERS))
        self.last_norm = nn.LayerNorm(options.width)
        self.out = nn.Linear(options.width, sizes.hidden_size, bias=False)

    def forward(self, clips: Clips) -> list[Tensor]:
        """Windows (num_windows, L+1, D) of each clip to (stretches * tokens_per_stretch, H)."""
        mixed = self.mixed_clips(clips)
        count = self.options.windows_per_token
        stretches = torch.cat([stacked(clip, count) for clip in mixed])
        mask = torch.cat([stacked(torch.ones_like(clip[:, :1]), count) for clip in mixed])[..., 0].bool()
        over = self.norm(stretches) + self.places
        queries = self.queries.expand(len(stretches), -1, -1)
        for layer in self.layers:
            queries = layer(queries, over, mask)
        embeddings = self.out_norm(self.out(self.last_norm(queries)))
        return list(embeddings.flatten(0, 1).split(self.lengths(clips)))


class _Layer(nn.Module):
    """Queries attend to each other, then to their stretch, then a gated layer; norms before each."""

    def __init__(self, feature_size: int, options: ProjectorOptions) -> None:
        super().__init__()
        width = options.width
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = CrossAttention(width, width, options.heads)
        self.stretch = CrossAttention(width, feature_size, options.heads)
        self.mlp = SwiGLU(width, 2 * width, width, options.dropout)

    def forward(self, queries: Tensor, over: Tensor, mask: Tensor) -> Tensor:
        """Queries (S, Q, W) over stretches (S, count, D), mask (S, count), to (S, Q, W)."""
        normed = self.norms[0](queries)
        queries = queries + self.own(normed, normed)
        queries = queries + self.stretch(self.norms[1](queries), over, mask)
        return queries + self.mlp(self.norms[2](queries))
