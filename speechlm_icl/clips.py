"""Cached features of several clips, as projectors read them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from perser.features import FeatureStore
from speechlm_icl.projector import Clips


def read_clips(store: FeatureStore, utterances: Sequence[str]) -> Clips:
    """Pooled features (n, L+1, D), or one tensor (num_windows, L+1, D) a clip, by the store's level."""
    if store.level == "pooled":
        return store.stack(utterances)
    return [store[utterance] for utterance in utterances]


def clips_on(clips: Clips, device: torch.device) -> Clips:
    """The same on a device."""
    return clips.to(device) if isinstance(clips, Tensor) else [clip.to(device) for clip in clips]
