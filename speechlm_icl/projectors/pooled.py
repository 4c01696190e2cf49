"""`pooled`: a clip's mean over time becomes a fixed number of embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechlm_icl.projectors.base import Clips, Projector, ProjectorOptions, ProjectorSizes
from speechlm_icl.projectors.blocks import SwiGLU


class PooledProjector(Projector):
    """LayerNorm and a SwiGLU MLP (as in Ultravox) on each clip's mean states."""

    def __init__(self, sizes: ProjectorSizes, options: ProjectorOptions) -> None:
        super().__init__(sizes, options)
        self.norm = nn.LayerNorm(sizes.feature_size)
        size_out = sizes.hidden_size * options.tokens_per_clip
        self.mlp = SwiGLU(sizes.feature_size, options.width, size_out, options.dropout)

    def forward(self, clips: Clips) -> Tensor:
        """Map pooled features (n, L+1, D) to embeddings (n, tokens_per_clip, H)."""
        states = clips if isinstance(clips, Tensor) else torch.stack(list(clips))
        embeddings = self.mlp(self.norm(self.mix_layers(states)))
        return self.out_norm(embeddings.view(len(states), self.options.tokens_per_clip, self.hidden_size))
