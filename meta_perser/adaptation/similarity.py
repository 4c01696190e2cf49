"""Entire-Sim: compares SSL-E's embedding to the mean embedding of each emotion in the support.

Nothing is trained on the support (Meta-PerSER, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from meta_perser.adaptation.predictor import embeddings
from meta_perser.recognizer.batches import ClipSource, standardized_by
from meta_perser.recognizer.model import EmotionRecognizer
from perser.episodes.episode import Support
from perser.labels import EmotionSet
from perser.personalizer import Personalizer


def emotion_centers(embedded: Tensor, targets: Tensor) -> Tensor:
    """Return the mean embedding of each emotion over the support, (C, D).

    Every embedding (a row of `embedded`, (K, D)) is weighted by the emotion's share in `targets` (K, C): an
    utterance with two labels counts half for each. NaN for an emotion that the support lacks.
    """
    return (targets.T @ embedded) / targets.sum(dim=0).unsqueeze(1)


def similarity_probabilities(embedded: Tensor, centers: Tensor) -> Tensor:
    """Return the softmax over cosine similarities of embeddings (B, D) to centers (C, D): (B, C).

    An emotion without a center gets 0. The paper gives no temperature: it is 1.
    """
    present = centers.isfinite().all(dim=1)
    cosines = F.cosine_similarity(embedded.unsqueeze(1), centers.nan_to_num().unsqueeze(0), dim=-1)
    return cosines.masked_fill(~present, float("-inf")).softmax(dim=-1)


class SimilarityPredictor:
    """Compares SSL-E's embedding of an utterance to one person's centers."""

    def __init__(self, model: EmotionRecognizer, source: ClipSource, centers: Tensor) -> None:
        self._model = model
        self._source = source
        self._centers = centers

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        """Return probabilities: float32 (num_utterances, num_emotions), rows sum to 1."""
        embedded = embeddings(self._model, self._source, utterances)
        return similarity_probabilities(embedded, self._centers).cpu().numpy()


class Similarity(Personalizer):
    """Computes a center for each emotion that occurs in the support."""

    route: ClassVar[str] = "meta-perser"

    def __init__(self, model: EmotionRecognizer, source: ClipSource) -> None:
        self._model = model
        self._source = source

    def personalize(self, support: Support) -> SimilarityPredictor:
        targets = self._model.targets(support.emotions)
        embedded = embeddings(self._model, self._source, support.utterances)
        return SimilarityPredictor(self._model, self._source, emotion_centers(embedded, targets))

    def with_labels(self, labels: EmotionSet) -> Similarity:
        return Similarity(self._model.with_labels(labels), self._source)

    def standardized_by(self, clips: Sequence[str], prior_clips: float) -> Similarity:
        return Similarity(standardized_by(self._model, self._source, clips, prior_clips), self._source)

    def parameters(self) -> dict[str, int]:
        return {"trained": self._model.trained_parameters, "moved": 0}
