"""From a clip's pooled encoder states to language-model embeddings, and into the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ProjectorOptions:
    """How a clip becomes language-model embeddings.

    Noise and dropout are strong because a model otherwise learns some thousand training clips by heart.

    Args:
        tokens_per_clip: Embeddings that one clip takes in the prompt.
        width: Inner width of the projector's SwiGLU.
        dropout: Dropout on the projector's inner layer.
        feature_noise: Standard deviation of the Gaussian noise added to standardised features while training.
    """

    tokens_per_clip: int = 1
    width: int = 256
    dropout: float = 0.2
    feature_noise: float = 1.0

    def __post_init__(self) -> None:
        if self.tokens_per_clip < 1 or self.width < 1:
            raise ValueError("tokens_per_clip and width must be at least 1")
        if not 0 <= self.dropout < 1 or self.feature_noise < 0:
            raise ValueError("dropout must be in [0, 1) and feature_noise at least 0")


class PooledProjector(nn.Module):
    """Softmax-weighted sum of the encoder's layers, LayerNorm and a SwiGLU MLP (as Ultravox has it).

    Args:
        num_layers: Hidden states of a clip (L + 1).
        feature_size: Their width D.
        hidden_size: Width H of the language model's embeddings.
        embedding_scale: Root mean square of those embeddings: where the projector's output starts.
        options: See `ProjectorOptions`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        num_layers: int,
        feature_size: int,
        hidden_size: int,
        embedding_scale: float,
        options: ProjectorOptions,
    ) -> None:
        super().__init__()
        self.options = options
        self.hidden_size = hidden_size
        self.register_buffer("mean", torch.zeros(num_layers, feature_size))
        self.register_buffer("std", torch.ones(num_layers, feature_size))
        self.layer_weights = nn.Parameter(torch.zeros(num_layers))
        self.norm = nn.LayerNorm(feature_size)
        self.gate = nn.Linear(feature_size, options.width, bias=False)
        self.up = nn.Linear(feature_size, options.width, bias=False)
        self.dropout = nn.Dropout(options.dropout)
        self.down = nn.Linear(options.width, hidden_size * options.tokens_per_clip, bias=False)
        self.out_norm = nn.RMSNorm(hidden_size, eps=1e-6)
        nn.init.constant_(self.out_norm.weight, embedding_scale)

    def fit_standardisation(self, features: Tensor) -> None:
        """Take mean and deviation of every feature from training clips, features (n, L+1, D)."""
        std, mean = torch.std_mean(features, dim=0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(1e-5))

    def forward(self, features: Tensor) -> Tensor:
        """Pooled features (n, L+1, D) to embeddings (n, tokens_per_clip, H)."""
        states = (features - self.mean) / self.std
        if self.training and self.options.feature_noise:
            states = states + self.options.feature_noise * torch.randn_like(states)
        weights = self.layer_weights.softmax(dim=0)
        clip = self.norm(torch.einsum("l,nld->nd", weights, states))
        clip = self.down(self.dropout(F.silu(self.gate(clip)) * self.up(clip)))
        return self.out_norm(clip.view(len(clip), self.options.tokens_per_clip, self.hidden_size))


def splice(embeddings: Tensor, clips: Tensor, frames: Sequence[Tensor] | Tensor) -> Tensor:
    """Put the frames of every clip at its placeholder positions in the prompt.

    Args:
        embeddings: Embeddings of the prompt's tokens (B, T, H); what stands at a placeholder is replaced.
        clips: Which clip each position belongs to (B, T), -1 where there is text.
        frames: One (num_frames, H) tensor a clip, or (num_clips, num_frames, H).

    Raises ValueError when a clip's placeholders and frames differ in number: a bare `masked_scatter` would
    let one clip's frames run on into the next clip's place.
    """
    flat = clips.flatten()
    audio = flat >= 0
    placeholders = torch.bincount(flat[audio], minlength=len(frames)).tolist()
    lengths = [len(clip_frames) for clip_frames in frames]
    if len(placeholders) != len(lengths):
        raise ValueError(f"the prompt has places for {len(placeholders)} clips, {len(lengths)} were given")
    for clip, (places, length) in enumerate(zip(placeholders, lengths, strict=True)):
        if places != length:
            raise ValueError(f"clip {clip} has {places} places in the prompt but {length} frames")
    if not lengths:
        return embeddings
    # Stable, so that a clip's frames keep their order whatever the order of the clips in the batch.
    order = torch.argsort(torch.where(audio, flat, len(lengths)), stable=True)[: sum(lengths)]
    values = torch.cat(list(frames)).to(embeddings.dtype)
    spliced = embeddings.flatten(0, 1).index_copy(0, order, values)
    return spliced.view_as(embeddings)
