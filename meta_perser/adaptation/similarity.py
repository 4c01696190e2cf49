"""Entire-Sim.: no training on the support at all; who sounds like which emotion's average example
(Meta-PerSER, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from meta_perser.adaptation.personalizer import embeddings, target_tensor
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer
from perser.episodes.episode import Support
from perser.personalizer import Personalizer


def emotion_centers(embedded: Tensor, targets: Tensor) -> Tensor:
    """Each emotion's mean embedding (C, D) over the support, `embedded` (K, D), every utterance counted by
    its share in `targets` (K, C): one of two labels counts half. NaN where nobody gave the emotion."""
    return (targets.T @ embedded) / targets.sum(dim=0).unsqueeze(1)


def similarity_probabilities(embedded: Tensor, centers: Tensor) -> Tensor:
    """Softmax over the cosine similarities of embeddings (B, D) to the centers (C, D): (B, C), 0 for an
    emotion without a center. The paper gives no temperature: it is 1."""
    present = centers.isfinite().all(dim=1)
    cosines = F.cosine_similarity(embedded.unsqueeze(1), centers.nan_to_num().unsqueeze(0), dim=-1)
    return cosines.masked_fill(~present, float("-inf")).softmax(dim=-1)


class SimilarityPredictor:
    """SSL-E's embedding against one person's centers."""

    def __init__(self, model: EmotionRecognizer, source: ClipSource, centers: Tensor) -> None:
        self._model = model
        self._source = source
        self._centers = centers

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        """float32 (num_utterances, num_emotions), rows sum to 1."""
        embedded = embeddings(self._model, self._source, utterances)
        return similarity_probabilities(embedded, self._centers).cpu().numpy()


class Similarity(Personalizer):
    """A center for each emotion that the support has."""

    route: ClassVar[str] = "meta-perser"

    def __init__(self, model: EmotionRecognizer, source: ClipSource) -> None:
        self._model = model
        self._source = source

    def personalize(self, support: Support) -> SimilarityPredictor:
        targets = target_tensor(self._model.emotions, support.emotions, self._model)
        embedded = embeddings(self._model, self._source, support.utterances)
        return SimilarityPredictor(self._model, self._source, emotion_centers(embedded, targets))

    def parameters(self) -> dict[str, int]:
        return {"trained": self._model.trained_parameters, "moved": 0}
