"""Predict with one person's weights, and embed utterances, in batches of a fixed size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from meta_perser.adaptation.adaptation_loss import Weights
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.recognizer.functional import FunctionalModel
from meta_perser.recognizer.model import EmotionRecognizer
from perser.training.checkpoint import moving_parameters

QUERY_BATCH = 64


class RecognizerPredictor:
    """A recognizer with one person's weights in place of its own.

    `model`: any module that maps a `ClipBatch` to logits.
    """

    def __init__(self, model: nn.Module, source: ClipSource, weights: Weights) -> None:
        self.model = model
        self.source = source
        self.weights = weights

    @torch.no_grad()
    def logits(self, utterances: Sequence[str]) -> Tensor:
        """Return logits (num_utterances, num_emotions)."""
        model = FunctionalModel(self.model, {**moving_parameters(self.model), **self.weights}, "sdpa")
        batches = query_batches(self.source, utterances)
        return torch.cat([model(self.weights, batch) for batch in batches])

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        """Return probabilities: float32 (num_utterances, num_emotions), rows sum to 1."""
        return self.logits(utterances).softmax(dim=-1).cpu().numpy()


@torch.no_grad()
def embeddings(model: EmotionRecognizer, source: ClipSource, utterances: Sequence[str]) -> Tensor:
    """Return the embeddings that the classifier reads, (num_utterances, D)."""
    own = FunctionalModel(model, moving_parameters(model), "sdpa").module
    return torch.cat([own.embed(batch) for batch in query_batches(source, utterances)])


def query_batches(source: ClipSource, utterances: Sequence[str]) -> Iterator[ClipBatch]:
    """Yield the utterances in order, at most QUERY_BATCH at once."""
    for first in range(0, len(utterances), QUERY_BATCH):
        yield source.batch(utterances[first : first + QUERY_BATCH])
