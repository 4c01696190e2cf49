"""The base class of projectors, their options, and the clips' features that they read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from perser.device import to_device
from perser.encoders.feature_cache import Level
from perser.encoders.moments import moments
from speechlm_icl.projectors.blocks import RMSNorm

Clips = Tensor | Sequence[Tensor]
"""Features of several clips: pooled (n, L+1, D), or one tensor (num_windows, L+1, D) a clip."""

ProjectorKind = Literal["pooled", "attention", "stack", "convolution", "qformer"]


@dataclass(frozen=True)
class ProjectorOptions:
    """How a clip becomes language-model embeddings.

    Noise and dropout are strong because a model otherwise memorizes a few thousand training clips.

    Args:
        kind: `pooled` (the mean over time) and `attention` (learned queries attend to the clip) give a fixed
            number of embeddings; `stack` (neighboring windows, concatenated), `convolution` (strided) and
            `qformer` (learned queries attend to each stretch) give more for longer clips.
        tokens_per_clip: Embeddings of a clip (`pooled` and `attention`).
        window_frames: Encoder frames of 20 ms that are averaged into one window, which every kind but
            `pooled` reads. 5 give ten windows a second, and a feature cache a fifth of the size.
        windows_per_token: Windows that become one embedding, or one stretch of `qformer`.
        tokens_per_stretch: Embeddings of each stretch (`qformer`).
        width: Inner width of the projector.
        heads: Attention heads (`attention` and `qformer`).
        dropout: Dropout on the projector's inner layer.
        feature_noise: Standard deviation of the Gaussian noise on standardized features during training.
    """

    kind: ProjectorKind = "pooled"
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
        """The level of features that the projector reads (see `perser.encoders.feature_cache`)."""
        return "pooled" if self.kind == "pooled" else f"windows:{self.window_frames}"

    def num_tokens(self, num_frames: int) -> int:
        """Return how many embeddings a clip of `num_frames` encoder frames gets."""
        return self.num_tokens_of_windows(-(-num_frames // self.window_frames))

    def num_tokens_of_windows(self, num_windows: int) -> int:
        """Return how many embeddings a clip of `num_windows` windows gets."""
        if self.kind in ("pooled", "attention"):
            return self.tokens_per_clip
        stretches = -(-num_windows // self.windows_per_token)
        return stretches * (self.tokens_per_stretch if self.kind == "qformer" else 1)


@dataclass(frozen=True)
class ProjectorSizes:
    """Sizes of a projector's inputs and outputs.

    Args:
        num_layers: Number of the encoder's hidden states (L + 1).
        feature_size: Width D of the encoder's hidden states.
        hidden_size: Width H of the language model's embeddings.
        embedding_scale: Root mean square of those embeddings. The projector's output starts at this scale.
    """

    num_layers: int
    feature_size: int
    hidden_size: int
    embedding_scale: float


class Projector(nn.Module, ABC):
    """Base class: standardizes features and mixes the encoder's layers by learned weights.

    Subclasses map the mixed features to embeddings and end with `out_norm`, which starts them at the scale of
    the language model's own. A clip's embeddings never depend on the rest of its batch.

    Args:
        sizes: Sizes of inputs and outputs.
        options: See `ProjectorOptions`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, sizes: ProjectorSizes, options: ProjectorOptions) -> None:
        super().__init__()
        self.options = options
        self.hidden_size = sizes.hidden_size
        self.register_buffer("mean", torch.zeros(sizes.num_layers, sizes.feature_size))
        self.register_buffer("std", torch.ones(sizes.num_layers, sizes.feature_size))
        self.layer_weights = nn.Parameter(torch.zeros(sizes.num_layers))
        self.out_norm = RMSNorm(sizes.hidden_size, eps=1e-6)
        nn.init.constant_(self.out_norm.weight, sizes.embedding_scale)

    @abstractmethod
    def forward(self, clips: Clips) -> Clips:
        """Map the features of n clips (see `Clips`) to their embeddings.

        Returns one tensor (num_tokens, H) a clip, or (n, num_tokens, H) where all clips have equally many.
        """

    def lengths(self, clips: Clips) -> list[int]:
        """Return how many embeddings each clip gets."""
        return [self.options.num_tokens_of_windows(len(clip)) for clip in clips]

    @torch.no_grad()
    def fit_standardization(self, clips: Iterable[Tensor]) -> None:
        """Set mean and standard deviation of every feature from training clips.

        Each clip is (L+1, D) or (num_windows, L+1, D).
        """
        mean, spread = moments(clips)
        self.mean.copy_(mean)
        self.std.copy_(spread)

    def mix_layers(self, states: Tensor) -> Tensor:
        """Standardize states (n, L+1, D) and return the weighted sum of their layers (n, D).

        During training, noise is added. Independent Gaussian noise on every standardized feature would sum up
        to Gaussian noise sqrt(sum of the squared weights) times as strong, so it is drawn once, on the sum.
        """
        weights = self.layer_weights.softmax(dim=0)
        mixed = weights @ ((states.to(self.mean.dtype) - self.mean) / self.std)
        if self.training and self.options.feature_noise:
            mixed = mixed + self.options.feature_noise * weights.norm() * torch.randn_like(mixed)
        return mixed

    def mix_clips(self, clips: Clips) -> list[Tensor]:
        """Apply `mix_layers` to each clip's windows (num_windows, L+1, D): (num_windows, D) a clip."""
        return list(self.mix_layers(torch.cat(list(clips))).split([len(clip) for clip in clips]))


class Store(Protocol):
    """Clips by their ids, as a model reads them: features, or waveforms."""

    @property
    def level(self) -> str: ...
    def __getitem__(self, utterance_id: str) -> Tensor: ...
    def num_rows(self, utterance_id: str) -> int:
        """Return how long a clip is, in any unit."""
        ...


@runtime_checkable
class PooledStore(Store, Protocol):
    """Clips that all have features of one shape."""

    def stack(self, utterance_ids: Sequence[str]) -> Tensor:
        """Return the features of clips, (n, L+1, D)."""
        ...


def read_clips(store: Store, utterances: Sequence[str]) -> Clips:
    """Read clips' features from a store.

    Returns pooled features (n, L+1, D), or one tensor (num_windows, L+1, D) a clip, by the store's level.
    """
    if store.level == "pooled" and isinstance(store, PooledStore):
        return store.stack(utterances)
    return [store[utterance] for utterance in utterances]


def clips_on(clips: Clips, device: torch.device) -> Clips:
    """Return the clips' features on a device."""
    if isinstance(clips, Tensor):
        return to_device(clips, device)
    return [to_device(clip, device) for clip in clips]
