"""`attention`: learned queries attend to the whole clip. Each becomes one embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perser.encoders.encoder import pad
from speechlm_icl.projectors.base import Clips, Projector, ProjectorOptions, ProjectorSizes
from speechlm_icl.projectors.blocks import CrossAttention, SwiGLU


class AttentionProjector(Projector):
    """Attention pooling (PMA in Lee et al. 2019, arXiv 1810.00825): long clips take no more positions."""

    def __init__(self, sizes: ProjectorSizes, options: ProjectorOptions) -> None:
        super().__init__(sizes, options)
        self.norm = nn.LayerNorm(sizes.feature_size)
        self.queries = nn.Parameter(torch.randn(options.tokens_per_clip, options.width))
        self.attention = CrossAttention(options.width, sizes.feature_size, options.heads)
        self.mlp_norm = nn.LayerNorm(options.width)
        self.mlp = SwiGLU(options.width, options.width, sizes.hidden_size, options.dropout)

    def forward(self, clips: Clips) -> Tensor:
        """Map windows (num_windows, L+1, D) of each of n clips to embeddings (n, tokens_per_clip, H)."""
        frames, mask = pad(self.mix_clips(clips))
        queries = self.queries.expand(len(frames), -1, -1)
        return self.out_norm(self.mlp(self.mlp_norm(self.attention(queries, self.norm(frames), mask))))
