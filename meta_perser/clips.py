"""From utterance ids to what the moving part of a recogniser reads, through the feature cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from meta_perser.buckets import bucketed, bucketed_alike
from meta_perser.model import ClipBatch, EmotionRecognizer
from perser.features import FeatureStore, cached_features

if TYPE_CHECKING:
    from perser.corpora.corpus import Recordings


class ClipSource:
    """Everything below the lowest moving layer, encoded once and read from disk.

    The recogniser's frozen part must not change while the source is in use.
    """

    def __init__(self, recordings: Recordings, model: EmotionRecognizer, cache: Path) -> None:
        self._lowest = model.lowest
        self._window = model.frame_window
        self._hidden_size = model.encoder.hidden_size
        self._num_layers = model.encoder.num_layers
        self._device = model.layer_logits.device
        self._pooled: FeatureStore | None = None
        self._frames: FeatureStore | None = None
        if self._lowest is None:
            self._frames = cached_features(recordings, model.encoder, "frontend", cache)
        else:
            self._pooled = cached_features(recordings, model.encoder, "pooled", cache)
            if self._lowest < self._num_layers:
                self._frames = cached_features(recordings, model.encoder, f"layer:{self._lowest}", cache)

    def batch(self, utterances: Sequence[str]) -> ClipBatch:
        """The `ClipBatch` of these utterances, in their order."""
        lower = self._lower(utterances)
        if self._frames is None:
            return ClipBatch(lower).to(self._device)
        return ClipBatch(lower, bucketed(self._clips(utterances))).to(self._device)

    def batch_alike(self, persons: Sequence[Sequence[str]]) -> ClipBatch:
        """Several persons' utterances, equally many each and shortest first, as one: `lower` and the buckets
        begin with a dimension (P,), see `bucketed_alike`."""
        lower = torch.stack([self._lower(utterances) for utterances in persons])
        if self._frames is None:
            return ClipBatch(lower).to(self._device)
        clips = [self._clips(utterances) for utterances in persons]
        return ClipBatch(lower, bucketed_alike(clips)).to(self._device)

    def num_frames(self, utterance: str) -> int:
        """How many frames of it enter the moving layers; 0 where only the head moves."""
        return 0 if self._frames is None else -(-self._frames.num_rows(utterance) // self._window)

    def _lower(self, utterances: Sequence[str]) -> Tensor:
        if self._pooled is None:
            return torch.zeros(len(utterances), 0, self._hidden_size)
        return self._pooled.stack(utterances)[:, : self._lowest + 1]

    def _clips(self, utterances: Sequence[str]) -> list[Tensor]:
        assert self._frames is not None
        return [window_means(self._frames[one], self._window) for one in utterances]


def window_means(frames: Tensor, size: int) -> Tensor:
    """Means (ceil(T / size), F) of frames (T, F), `size` after `size`; the last is that of what is left."""
    if size == 1:
        return frames
    return torch.stack([window.mean(dim=0) for window in frames.split(size)])
