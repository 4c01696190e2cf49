"""`convolution`: a strided convolution over a clip's windows."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from perser.encoders.encoder import pad
from speechlm_icl.projectors.base import Clips, Projector, ProjectorOptions, ProjectorSizes
from speechlm_icl.projectors.blocks import RMSNorm


class ConvolutionProjector(Projector):
    """RMSNorm, one convolution, GELU and a linear layer.

    The convolution has stride s = windows_per_token and kernel size 2s + 1, so each embedding also depends on
    windows of its neighbors.
    """

    def __init__(self, sizes: ProjectorSizes, options: ProjectorOptions) -> None:
        super().__init__(sizes, options)
        stride = options.windows_per_token
        self.norm = RMSNorm(sizes.feature_size, eps=1e-6)
        self.convolution = nn.Conv1d(
            sizes.feature_size, options.width, 2 * stride + 1, stride, padding=stride
        )
        self.dropout = nn.Dropout(options.dropout)
        self.out = nn.Linear(options.width, sizes.hidden_size, bias=False)

    def forward(self, clips: Clips) -> list[Tensor]:
        """Map windows (num_windows, L+1, D) of each clip to embeddings (ceil(num_windows / s), H)."""
        # Zeros follow a clip in a batch, as the convolution's own padding follows it when it is alone.
        frames, _ = pad([self.norm(clip) for clip in self.mix_clips(clips)])
        inner = F.gelu(self.convolution(frames.transpose(1, 2)).transpose(1, 2))
        embeddings = self.out_norm(self.out(self.dropout(inner)))
        return [rows[:length] for rows, length in zip(embeddings, self.lengths(clips), strict=True)]
