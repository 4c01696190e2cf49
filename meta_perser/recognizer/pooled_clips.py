"""Clips of which only the time means are known: those of a profile, where the head alone moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer


class PooledClips(ClipSource):
    """Makes batches of clips from the time means of their hidden states.

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
