"""What every projector is: from a clip's encoder states to language-model embeddings that stand for it.

Cached features of several clips, as projectors read them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from perser.encoders.feature_cache import FeatureStore, Level

Clips = Tensor | Sequence[Tensor]
"""Features of several clips: pooled (n, L+1, D), or one tensor (num_windows, L+1, D) a clip."""

Kind = Literal["pooled", "attention", "stack", "convolution", "qformer"]


@dataclass(frozen=True)
class ProjectorOptions:
    """How a clip becomes language-model embeddings.

    Noise and dropout are strong because a model otherwise learns some thousand training clips by heart.

    Args:
        kind: `pooled` (the mean over time), `attention` (learned queries look over the clip), or as many
            embeddings as the clip is long: `stack` (neighbors side by side), `convolution` (strided),
            `qformer` (learned queries look over each stretch).
        tokens_per_clip: Embeddings that one clip takes in the prompt (`pooled` and `attention`).
        window_frames: Encoder frames of 20 ms that are averaged into one before any other kind than `pooled`
            reads them: 5 are ten a second, and a cache a fifth of the size.
        windows_per_token: Such windows that become one embedding, or one stretch of `qformer`.
        tokens_per_stretch: Embeddings that `qformer` makes of each stretch.
        width: Inner width of the projector.
        heads: Attention heads of `attention` and `qformer`.
        dropout: Dropout on the projector's inner layer.
        feature_noise: Standard deviation of the Gaussian noise added to standardized features while training.
    """

    kind: Kind = "pooled"
    tokens_per_clip: int = 1
    window_frames: int = 5
    windows_per_token: int = 4
    tokens_per_stretch: int = 1
    width: int = 256
    heads: int = 4
    dropout: float = 0.2
    feature_noise: float = 1.0

    def __post_init__(self) -> None:
        counts = ("tokens_per_clip", "window_frames", "windows_per_token", "tokens_per_stretch")
        for name in (*counts, "width", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"projector.{name} must be at least 1")
        if self.kind in ("attention", "qformer") and self.width % self.heads:
            raise ValueError("projector.width must be a multiple of projector.heads")
        if not 0 <= self.dropout < 1 or self.feature_noise < 0:
            raise ValueError(
                "projector.dropout must be in [0, 1) and projector.feature_noise must be at least 0"
            )

    @property
    def level(self) -> Level:
        """The features that it reads (`perser.features`)."""
        return "pooled" if self.kind == "pooled" else f"windows:{self.window_frames}"

    def num_tokens(self, num_frames: int) -> int:
        """Embeddings of a clip of so many encoder frames."""
        return self.num_tokens_of_windows(-(-num_frames // self.window_frames))

    def num_tokens_of_windows(self, num_windows: int) -> int:
        """Embeddings of a clip of so many windows."""
        if self.kind in ("pooled", "attention"):
            return self.tokens_per_clip
        stretches = -(-num_windows // self.windows_per_token)
        return stretches * (self.tokens_per_stretch if self.kind == "qformer" else 1)


@dataclass(frozen=True)
class Sizes:
    """What a projector stands between.

    Args:
        num_layers: Hidden states of a clip (L + 1).
        feature_size: Their width D.
        hidden_size: Width H of the language model's embeddings.
        embedding_scale: Root mean square of those embeddings: where the projector's output starts.
    """

    num_layers: int
    feature_size: int
    hidden_size: int
    embedding_scale: float


class Projector(nn.Module, ABC):
    """Standardization, a softmax-weighted sum of the encoder's layers and a norm; then what each kind does.

    A clip's embeddings never depend on what it is batched with.

    Args:
        sizes: Of what is read and written.
        options: See `ProjectorOptions`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, sizes: Sizes, options: ProjectorOptions) -> None:
        super().__init__()
        self.options = options
        self.hidden_size = sizes.hidden_size
        self.register_buffer("mean", torch.zeros(sizes.num_layers, sizes.feature_size))
        self.register_buffer("std", torch.ones(sizes.num_layers, sizes.feature_size))
        self.layer_weights = nn.Parameter(torch.zeros(sizes.num_layers))
        self.out_norm = nn.RMSNorm(sizes.hidden_size, eps=1e-6)
        nn.init.constant_(self.out_norm.weight, sizes.embedding_scale)

    @abstractmethod
    def forward(self, clips: Clips) -> Clips:
        """Features of n clips (see `Clips`) to their embeddings: one tensor (num_tokens, H) a clip, or
        (n, num_tokens, H) where all have equally many."""

    def lengths(self, clips: Clips) -> list[int]:
        """How many embeddings each clip gets."""
        return [self.options.num_tokens_of_windows(len(clip)) for clip in clips]

    @torch.no_grad()
    def fit_standardization(self, clips: Iterable[Tensor]) -> None:
        """Take mean and deviation of every feature from training clips: each (L+1, D) or
        (num_windows, L+1, D)."""
        count, total, squares = 0, 0.0, 0.0
        for clip in clips:
            states = clip.double().reshape(-1, *self.mean.shape)
            count += len(states)
            total = total + states.sum(dim=0)
            squares = squares + states.square().sum(dim=0)
        mean = total / count
        self.mean.copy_(mean)
        self.std.copy_((squares / count - mean.square()).clamp_min(0).sqrt().clamp_min(1e-5))

    def mixed(self, states: Tensor) -> Tensor:
        """States (n, L+1, D) to their standardized layers' weighted sum (n, D).

        While training, with the noise that independent noise on every standardized feature sums up to:
        Gaussian again, sqrt(sum of the squared weights) times as strong.
        """
        weights = self.layer_weights.softmax(dim=0)
        mixed = weights @ ((states.to(self.mean.dtype) - self.mean) / self.std)
        if self.training and self.options.feature_noise:
            mixed = mixed + self.options.feature_noise * weights.norm() * torch.randn_like(mixed)
        return mixed

    def mixed_clips(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """Windows (num_windows, L+1, D) of each clip to (num_windows, D)."""
        return list(self.mixed(torch.cat(list(clips))).split([len(clip) for clip in clips]))


def read_clips(store: FeatureStore, utterances: Sequence[str]) -> Clips:
    """Pooled features (n, L+1, D), or one tensor (num_windows, L+1, D) a clip, by the store's level."""
    if store.level == "pooled":
        return store.stack(utterances)
    return [store[utterance] for utterance in utterances]


def clips_on(clips: Clips, device: torch.device) -> Clips:
    """The same on a device."""
    return clips.to(device) if isinstance(clips, Tensor) else [clip.to(device) for clip in clips]
