"""`stack`: neighboring windows side by side become one embedding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechlm_icl.projectors.base import Clips, Projector, ProjectorOptions, Sizes
from speechlm_icl.projectors.blocks import SwiGLU


class StackProjector(Projector):
    """Frame stacking, RMSNorm and SwiGLU, as Ultravox has it; the last stack is filled up with zeros."""

    def __init__(self, sizes: Sizes, options: ProjectorOptions) -> None:
        super().__init__(sizes, options)
        self.norm = nn.RMSNorm(sizes.feature_size * options.windows_per_token, eps=1e-6)
        self.mlp = SwiGLU(
            sizes.feature_size * options.windows_per_token, options.width, sizes.hidden_size, options.dropout
        )

    def forward(self, clips: Clips) -> list[Tensor]:
        """Windows (num_windows, L+1, D) of each clip to (ceil(num_windows / windows_per_token), H)."""
        stacks = [
            stacked(clip, self.options.windows_per_token).flatten(1) for clip in self.mixed_clips(clips)
        ]
        embeddings = self.out_norm(self.mlp(self.norm(torch.cat(stacks))))
        return list(embeddings.split([len(stack) for stack in stacks]))


def stacked(windows: Tensor, count: int) -> Tensor:
    """Windows (T, D) in stretches, the last one filled up with zeros: (ceil(T / count), count, D)."""
    return F.pad(windows, (0, 0, 0, -len(windows) % count)).unflatten(0, (-1, count))
