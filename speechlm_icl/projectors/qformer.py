"""`qformer`: learned queries attend to each stretch of a clip."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechlm_icl.projectors.base import Clips, Projector, ProjectorOptions, ProjectorSizes
from speechlm_icl.projectors.blocks import CrossAttention, SwiGLU
from speechlm_icl.projectors.stack import stack_windows

LAYERS = 2
"""Number of layers of the Q-Former, as in SALMONN."""


class QFormerProjector(Projector):
    """A window-level Q-Former (SALMONN, Tang et al. 2024, arXiv 2310.13289).

    `tokens_per_stretch` queries attend to each stretch of `windows_per_token` windows, independently of the
    other stretches.
    """

    def __init__(self, sizes: ProjectorSizes, options: ProjectorOptions) -> None:
        super().__init__(sizes, options)
        self.norm = nn.LayerNorm(sizes.feature_size)
        self.queries = nn.Parameter(0.02 * torch.randn(options.tokens_per_stretch, options.width))
        self.places = nn.Parameter(torch.zeros(options.windows_per_token, sizes.feature_size))
        self.layers = nn.ModuleList(_Layer(sizes.feature_size, options) for _ in range(LAYERS))
        self.last_norm = nn.LayerNorm(options.width)
        self.out = nn.Linear(options.width, sizes.hidden_size, bias=False)

    def forward(self, clips: Clips) -> list[Tensor]:
        """Map windows (num_windows, L+1, D) of each clip to (num_stretches * tokens_per_stretch, H)."""
        mixed = self.mix_clips(clips)
        count = self.options.windows_per_token
        stretches = torch.cat([stack_windows(clip, count) for clip in mixed])
        mask = torch.cat([stack_windows(torch.ones_like(clip[:, :1]), count) for clip in mixed])[
            ..., 0
        ].bool()
        over = self.norm(stretches) + self.places
        queries = self.queries.expand(len(stretches), -1, -1)
        for layer in self.layers:
            queries = layer(queries, over, mask)
        embeddings = self.out_norm(self.out(self.last_norm(queries)))
        return list(embeddings.flatten(0, 1).split(self.lengths(clips)))


class _Layer(nn.Module):
    """Self-attention of the queries, attention to their stretch and a gated MLP, each after a norm."""

    def __init__(self, feature_size: int, options: ProjectorOptions) -> None:
        super().__init__()
        width = options.width
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = CrossAttention(width, width, options.heads)
        self.stretch = CrossAttention(width, feature_size, options.heads)
        self.mlp = SwiGLU(width, 2 * width, width, options.dropout)

    def forward(self, queries: Tensor, over: Tensor, mask: Tensor) -> Tensor:
        """Map queries (S, Q, W), stretches (S, count, D) and their mask (S, count) to (S, Q, W)."""
        normed = self.norms[0](queries)
        queries = queries + self.own(normed, normed)
        queries = queries + self.stretch(self.norms[1](queries), over, mask)
        return queries + self.mlp(self.norms[2](queries))
