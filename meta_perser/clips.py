"""From utterance ids to what the moving part of a recogniser reads, through the feature cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from meta_perser.buckets import bucketed
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
        if self._pooled is None:
            lower = torch.zeros(len(utterances), 0, self._hidden_size)
        else:
            lower = self._pooled.stack(utterances)[:, : self._lowest + 1]
        if self._frames is None:
            return ClipBatch(lower).to(self._device)
        clips = [window_means(self._frames[one], self._window) for one in utterances]
        return ClipBatch(lower, bucketed(clips)).to(self._device)


def window_means(frames: Tensor, size: int) -> Tensor:
    """Means (ceil(T / size), F) of frames (T, F), `size` after `size`; the last is that of what is left."""
    if size == 1:
        return frames
    return torch.stack([window.mean(dim=0) for window in frames.split(size)])
