"""From utterance ids to what the moving part of a recognizer reads, through the feature cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from meta_perser.recognizer.clip_batch import ClipBatch, bucketed, bucketed_alike
from meta_perser.recognizer.model import EmotionRecognizer
from perser.encoders.encoder import mean_pool, window_means
from perser.encoders.feature_cache import FeatureStore, cached_features
from perser.episodes.sampling import evenly_spaced

if TYPE_CHECKING:
    from perser.corpora.corpus import Recordings

CLIPS_AT_ONCE = 64

STANDARDIZING = 8192
"""At most so many utterances fit the standardization: a large corpus' states would not fit into memory."""


class ClipSource:
    """What lies below the lowest moving layer, computed once: read from disk as far as training left the
    encoder as it came, and kept in memory from there.

    The recognizer's frozen part must not change while the source is in use.
    """

    def __init__(self, recordings: Recordings, model: EmotionRecognizer, cache: Path | None) -> None:
        self._encoder = model.encoder
        self._lowest = model.lowest
        self._moves_layers = model.lowest != model.encoder.num_layers
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
        lower = self._lower(utterances)
        if not self._moves_layers:
            return ClipBatch(lower).to(self._device)
        return ClipBatch(lower, bucketed(self._clips(utterances))).to(self._device)

    def batch_alike(self, persons: Sequence[Sequence[str]]) -> ClipBatch:
        """Several persons' utterances, equally many each and shortest first, as one: `lower` and the buckets
        begin with a dimension (P,), see `bucketed_alike`."""
        lower = torch.stack([self._lower(utterances) for utterances in persons])
        if not self._moves_layers:
            return ClipBatch(lower).to(self._device)
        clips = [self._clips(utterances) for utterances in persons]
        return ClipBatch(lower, bucketed_alike(clips)).to(self._device)

    def num_frames(self, utterance: str) -> int:
        """How many frames of it enter the moving layers; 0 where only the head moves."""
        return -(-self._frames.num_rows(utterance) // self._window) if self._moves_layers else 0

    def cost(self, utterance: str) -> float:
        """What the moving layers take over it, in any unit: the operations of their matrix products, which
        grow with its frames T, and of attention, with T^2 (at 6 D frames one costs as much as the other)."""
        frames = self.num_frames(utterance)
        return frames * (1 + frames / (6 * self._encoder.hidden_size))

    def _lower(self, utterances: Sequence[str]) -> Tensor:
        if self._pooled is None:
            return torch.zeros(len(utterances), 0, self._encoder.hidden_size)
        lower = self._pooled.stack(utterances)
        if self._from == self._lowest:
            return lower
        self._compute(utterances)
        return torch.cat([lower, torch.stack([self._means[one] for one in utterances])], dim=1)

    def _clips(self, utterances: Sequence[str]) -> list[Tensor]:
        """The frames that enter the moving layers."""
        if self._from == self._lowest:
            return self._windows(utterances)
        self._compute(utterances)
        return [self._last_frames[one] for one in utterances]

    def _windows(self, utterances: Sequence[str]) -> list[Tensor]:
        """The frames that are on disk, or the means of several."""
        return [window_means(self._frames[one], self._window) for one in utterances]

    @torch.no_grad()
    def _compute(self, utterances: Sequence[str]) -> None:
        """Run the layers between what is on disk and what moves: the means of their hidden states, and the
        frames that enter what moves."""
        missing = [one for one in dict.fromkeys(utterances) if one not in self._means]
        # What a clip is batched with shows in the last digit, and a training that goes on from a checkpoint
        # asks for clips in another company: on a CPU, where it costs nothing, each goes alone.
        at_once = 1 if self._device.type == "cpu" else CLIPS_AT_ONCE
        for first in range(0, len(missing), at_once):
            chosen = missing[first : first + at_once]
            for bucket in bucketed(self._windows(chosen)):
                on_device = bucket.to(self._device)
                with self._encoder.without_adapters():
                    states = self._encoder.run_layers(
                        on_device.frames, on_device.mask, self._from, self._lowest
                    )
                means = torch.stack([mean_pool(state, on_device.mask) for state in states], dim=1).cpu()
                for row, place in enumerate(bucket.places.tolist()):
                    self._means[chosen[place]] = means[row]
                    if self._moves_layers:
                        length = (
                            bucket.frames.shape[1] if bucket.mask is None else int(bucket.mask[row].sum())
                        )
                        self._last_frames[chosen[place]] = states[-1][row, :length].cpu()


def standardize(
    model: EmotionRecognizer, utterances: Sequence[str], recordings: Recordings, cache: Path
) -> None:
    """Fit the standardization of the recognizer's hidden states to these utterances, evenly spaced ones where
    there are more than `STANDARDIZING`."""
    scope = model.scope
    model.set_scope("head")
    chosen = evenly_spaced(utterances, STANDARDIZING)
    model.standardize(ClipSource(recordings, model, cache).batch(chosen).lower)
    model.set_scope(scope)
