"""Turn utterance ids into the clip batches that a recognizer reads, through the feature cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from meta_perser.recognizer.clip_batch import Bucket, ClipBatch, bucket_cost, bucketed, stacked_buckets
from meta_perser.recognizer.model import EmotionRecognizer
from perser.encoders.encoder import SpeechEncoder, window_means
from perser.encoders.feature_cache import FeatureStore, cached_features
from perser.encoders.moments import blended_moments
from perser.episodes.sampling import evenly_spaced

if TYPE_CHECKING:
    from perser.encoders.feature_cache import AudioSource

CLIPS_AT_ONCE = 64

Adjust = Callable[[FeatureStore], FeatureStore]
"""Changes the time means of all clips before anything reads them."""

STANDARDIZATION_UTTERANCES = 8192
"""The most utterances whose hidden states the standardization is fitted to: all of a large corpus would not
fit into memory."""


class ClipSource:
    """Makes the `ClipBatch` of any utterances, and computes everything below the lowest moving layer once.

    Hidden states of the layers that no training has changed are read from the cache on disk. The layers
    between those and the lowest moving one are run here, and their outputs stay in memory.

    The recognizer's frozen part must not change while the source is in use.

    Args:
        recordings: The clips.
        model: The recognizer that reads them.
        cache: Folder of the feature cache; None: nothing is kept.
        adjust: Changes the clips' time means, where the head alone moves; None: they stay.
    """

    def __init__(
        self,
        recordings: AudioSource,
        model: EmotionRecognizer,
        cache: Path | None,
        adjust: Adjust | None = None,
    ) -> None:
        self._encoder = model.encoder
        self._lowest_layer = model.lowest_layer
        self._moves_layers = model.lowest_layer != model.encoder.num_layers
        self._window = model.frame_window
        self._device = model.layer_logits.device
        self._bucket_cost = bucket_cost(self._device)
        self._disk_layer: int | None = model.lowest_layer
        """The layer whose input is read from disk: the lowest that moves here, or that training moved."""
        if model.lowest_layer is not None and model.kept_layers is not None:
            self._disk_layer = min(model.lowest_layer, model.kept_layers)
        self._pooled: FeatureStore | None = None
        self._frames: FeatureStore | None = None
        self._means: dict[str, Tensor] = {}
        self._last_frames: dict[str, Tensor] = {}
        if self._disk_layer is None:
            self._frames = cached_features(recordings, model.encoder, "frontend", cache)
        elif self._disk_layer == model.encoder.num_layers:
            pooled = cached_features(recordings, model.encoder, "pooled", cache)
            self._pooled = pooled if adjust is None else adjust(pooled)
        else:
            self._pooled = cached_features(recordings, model.encoder, f"pooled:{self._disk_layer}", cache)
            self._frames = cached_features(recordings, model.encoder, f"layer:{self._disk_layer}", cache)

    def batch(self, utterances: Sequence[str]) -> ClipBatch:
        """Return the `ClipBatch` of these utterances, in their order."""
        lower = self._lower(utterances)
        if not self._moves_layers:
            return ClipBatch(lower).to(self._device)
        return ClipBatch(lower, bucketed(self._clips(utterances), self._bucket_cost)).to(self._device)

    def stacked_batch(self, persons: Sequence[Sequence[str]]) -> ClipBatch:
        """Return the utterances of P persons, equally many each and shortest first, as one batch.

        `lower`, frames and masks begin with a dimension (P,); see `stacked_buckets`.
        """
        lower = torch.stack([self._lower(utterances) for utterances in persons])
        if not self._moves_layers:
            return ClipBatch(lower).to(self._device)
        clips = [self._clips(utterances) for utterances in persons]
        return ClipBatch(lower, stacked_buckets(clips, self._bucket_cost)).to(self._device)

    def num_frames(self, utterance: str) -> int:
        """Return how many frames of an utterance enter the moving layers; 0 where only the head moves."""
        if not self._moves_layers:
            return 0
        assert self._frames is not None  # layers read them
        return -(-self._frames.num_rows(utterance) // self._window)

    def cost(self, utterance: str) -> float:
        """Return what the moving layers spend on an utterance, in arbitrary units.

        Their matrix products grow with its frames T, attention with T^2; at 6 D frames both cost the same.
        """
        frames = self.num_frames(utterance)
        return frames * (1 + frames / (6 * self._encoder.hidden_size))

    def _lower(self, utterances: Sequence[str]) -> Tensor:
        """Return the time means of the hidden states that do not move, (B, num_lower, D)."""
        if self._pooled is None:
            return torch.zeros(len(utterances), 0, self._encoder.hidden_size)
        lower = self._pooled.stack(utterances)
        if self._disk_layer == self._lowest_layer:
            return lower
        self._compute(utterances)
        return torch.cat([lower, torch.stack([self._means[name] for name in utterances])], dim=1)

    def _clips(self, utterances: Sequence[str]) -> list[Tensor]:
        """Return the frames that enter the moving layers."""
        if self._disk_layer == self._lowest_layer:
            return self._windows(utterances)
        self._compute(utterances)
        return [self._last_frames[name] for name in utterances]

    def _windows(self, utterances: Sequence[str]) -> list[Tensor]:
        """Return the frames on disk, averaged over windows of `frame_window` frames."""
        frames = self._frames
        assert frames is not None  # `_clips` and `_compute` are for layers, which read them
        return [window_means(frames[name], self._window) for name in utterances]

    @torch.no_grad()
    def _compute(self, utterances: Sequence[str]) -> None:
        """Run the layers between the disk and the lowest moving one, for utterances not seen before.

        Keeps the time means of their hidden states, and the frames that enter the moving layers.
        """
        missing = [name for name in dict.fromkeys(utterances) if name not in self._means]
        if not missing:
            return
        encoder = self._encoder.without_adapters()
        # What a clip is batched with changes its last digit, and a resumed training asks for clips in other
        # batches. So on a CPU, where it costs no time, each clip is computed alone.
        at_once = 1 if self._device.type == "cpu" else CLIPS_AT_ONCE
        for first in range(0, len(missing), at_once):
            names = missing[first : first + at_once]
            for bucket in bucketed(self._windows(names), self._bucket_cost):
                self._compute_bucket(encoder, names, bucket)

    def _compute_bucket(self, encoder: SpeechEncoder, names: Sequence[str], bucket: Bucket) -> None:
        """Run those layers for one bucket of the utterances `names`."""
        on_device = bucket.to(self._device)
        assert self._disk_layer is not None  # it is below the lowest moving layer
        states = encoder.run_layers(on_device.frames, on_device.mask, self._disk_layer, self._lowest_layer)
        means = torch.stack([encoder.pool(state, on_device.mask) for state in states], dim=1).cpu()
        for row, position in enumerate(bucket.positions.tolist()):
            self._means[names[position]] = means[row]
            if self._moves_layers:
                length = bucket.frames.shape[1] if bucket.mask is None else int(bucket.mask[row].sum())
                self._last_frames[names[position]] = states[-1][row, :length].cpu()


class PooledClips(ClipSource):
    """Makes batches of clips of which only the time means are known: those of a profile.

    Args:
        means: of each clip, by name, (L + 1, D).
        model: a recognizer of which the head alone moves.
    """

    def __init__(self, means: Mapping[str, Tensor], model: EmotionRecognizer) -> None:
        self._own_means = means
        self._moves_layers = False
        self._device = model.layer_logits.device

    def _lower(self, utterances: Sequence[str]) -> Tensor:
        return torch.stack([self._own_means[name] for name in utterances])


@torch.no_grad()
def moments_of_clips(
    model: EmotionRecognizer, source: ClipSource, clips: Sequence[str], prior_clips: float
) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of these clips' hidden states, together with the
    recognizer's own, which count as much as `prior_clips` clips."""
    pooled = [
        model.pooled_states(source.batch(clips[first : first + CLIPS_AT_ONCE])).cpu()
        for first in range(0, len(clips), CLIPS_AT_ONCE)
    ]
    return blended_moments(torch.cat(pooled), model.state_mean, model.state_scale, prior_clips)


def standardized_by(
    model: EmotionRecognizer, source: ClipSource, clips: Sequence[str], prior_clips: float
) -> EmotionRecognizer:
    """Return the recognizer with the standardization of these clips; see `moments_of_clips`."""
    return model.standardized(*moments_of_clips(model, source, clips, prior_clips))


def standardize(
    model: EmotionRecognizer,
    utterances: Sequence[str],
    recordings: AudioSource,
    cache: Path,
    adjust: Adjust | None = None,
) -> None:
    """Fit the standardization of the recognizer's hidden states to these utterances.

    Of more than STANDARDIZATION_UTTERANCES, evenly spaced ones are used. `adjust`: as of `ClipSource`.
    """
    scope = model.scope
    model.set_scope("head")
    chosen = evenly_spaced(utterances, STANDARDIZATION_UTTERANCES)
    model.standardize(ClipSource(recordings, model, cache, adjust).batch(chosen).lower)
    model.set_scope(scope)
