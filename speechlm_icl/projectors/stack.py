"""`stack`: neighboring windows, concatenated, become one embedding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from speechlm_icl.projectors.base import Clips, Projector, ProjectorOptions, ProjectorSizes
from speechlm_icl.projectors.blocks import RMSNorm, SwiGLU


class StackProjector(Projector):
    """Frame stacking, RMSNorm and SwiGLU, as in Ultravox. The last stack is padded with zeros."""

    def __init__(self, sizes: ProjectorSizes, options: ProjectorOptions) -> None:
        super().__init__(sizes, options)
        self.norm = RMSNorm(sizes.feature_size * options.windows_per_token, eps=1e-6)
        self.mlp = SwiGLU(
            sizes.feature_size * options.windows_per_token, options.width, sizes.hidden_size, options.dropout
        )

    def forward(self, clips: Clips) -> list[Tensor]:
        """Map windows (num_windows, L+1, D) of each clip to (ceil(num_windows / windows_per_token), H)."""
        stacks = [
            stack_windows(clip, self.options.windows_per_token).flatten(1) for clip in self.mix_clips(clips)
        ]
        embeddings = self.out_norm(self.mlp(self.norm(torch.cat(stacks))))
        return list(embeddings.split([len(stack) for stack in stacks]))


def stack_windows(windows: Tensor, count: int) -> Tensor:
    """Group windows (T, D) by `count`: (ceil(T / count), count, D). The last group is padded with zeros."""
    return F.pad(windows, (0, 0, 0, -len(windows) % count)).unflatten(0, (-1, count))
