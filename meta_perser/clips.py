"""From utterance ids to what the moving part of a recogniser reads, through the feature cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from meta_perser.buckets import bucketed
from meta_perser.model import Bucket, ClipBatch, EmotionRecognizer
from perser.encoder import mean_pool
from perser.features import FeatureStore, cached_features

if TYPE_CHECKING:
    from perser.corpora.corpus import Recordings


CLIPS_AT_ONCE = 64


class ClipSource:
    """What lies below the lowest moving layer, computed once: read from disk as far as training left the
    encoder as it came, and kept in memory from there.

    The recogniser's frozen part must not change while the source is in use.
    """

    def __init__(self, recordings: Recordings, model: EmotionRecognizer, cache: Path) -> None:
        self._encoder = model.encoder
        self._lowest = model.lowest
        self._window = model.frame_window
        self._device = model.layer_logits.device
        self._from: int | None = model.lowest
        """Where what is read from disk ends: the lowest moving layer, or below it the lowest trained one."""
        if model.lowest is not None and model.kept_layers is not None:
            self._from = min(model.lowest, model.kept_layers)
        self._pooled: FeatureStore | None = None
        self._frames: FeatureStore | None = None
        self._means: dict[str, Tensor] = {}
        self._last_frames: dict[str, Tensor] = {}
        if self._from is None:
            self._frames = cached_features(recordings, model.encoder, "frontend", cache)
        elif self._from == model.encoder.num_layers:
            self._pooled = cached_features(recordings, model.encoder, "pooled", cache)
        else:
            self._pooled = cached_features(recordings, model.encoder, f"pooled:{self._from}", cache)
            self._frames = cached_features(recordings, model.encoder, f"layer:{self._from}", cache)

    def batch(self, utterances: Sequence[str]) -> ClipBatch:
        """The `ClipBatch` of these utterances, in their order."""
        return ClipBatch(self._lower(utterances), self._buckets(utterances)).to(self._device)

    def _lower(self, utterances: Sequence[str]) -> Tensor:
        if self._pooled is None:
            return torch.zeros(len(utterances), 0, self._encoder.hidden_size)
        lower = self._pooled.stack(utterances)
        if self._from == self._lowest:
            return lower
        self._compute(utterances)
        return torch.cat([lower, torch.stack([self._means[one] for one in utterances])], dim=1)

    def _buckets(self, utterances: Sequence[str]) -> tuple[Bucket, ...]:
        if self._frames is None or self._lowest == self._encoder.num_layers:
            return ()
        if self._from == self._lowest:
            return bucketed([window_means(self._frames[one], self._window) for one in utterances])
        self._compute(utterances)
        return bucketed([self._last_frames[one] for one in utterances])

    @torch.no_grad()
    def _compute(self, utterances: Sequence[str]) -> None:
        """Run the layers between what is on disk and what moves: the means of their hidden states, and the
        frames that enter what moves."""
        missing = [one for one in dict.fromkeys(utterances) if one not in self._means]
        for first in range(0, len(missing), CLIPS_AT_ONCE):
            chosen = missing[first : first + CLIPS_AT_ONCE]
            for bucket in bucketed([window_means(self._frames[one], self._window) for one in chosen]):
                on_device = bucket.to(self._device)
                with self._encoder.without_adapters():
                    states = self._encoder.run_layers(
                        on_device.frames, on_device.mask, self._from, self._lowest
                    )
                means = torch.stack([mean_pool(state, on_device.mask) for state in states], dim=1).cpu()
                for row, place in enumerate(bucket.places.tolist()):
                    self._means[chosen[place]] = means[row]
                    if self._lowest < self._encoder.num_layers:
                        length = (
                            bucket.frames.shape[1] if bucket.mask is None else int(bucket.mask[row].sum())
                        )
                        self._last_frames[chosen[place]] = states[-1][row, :length].cpu()


def standardise(
    model: EmotionRecognizer, utterances: Sequence[str], recordings: Recordings, cache: Path
) -> None:
    """Fit the standardisation of the recogniser's hidden states to these utterances."""
    scope = model.scope
    model.set_scope("head")
    model.standardise(ClipSource(recordings, model, cache).batch(utterances).lower)
    model.set_scope(scope)


def window_means(frames: Tensor, size: int) -> Tensor:
    """Means (ceil(T / size), F) of frames (T, F), `size` after `size`; the last is that of what is left."""
    if size == 1:
        return frames
    return torch.stack([window.mean(dim=0) for window in frames.split(size)])
