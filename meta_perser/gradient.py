"""Personalising by gradient steps: what Meta-PerSER and the fine-tuning baselines share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from meta_perser.clips import ClipSource
from meta_perser.inner_loop import LossFunction, Weights, adapt
from meta_perser.lslr import ConstantRate, LearnedRates
from meta_perser.model import EmotionRecognizer
from perser.episodes import Support, Task
from perser.labels import Emotions, EmotionSet
from perser.losses import class_balanced_cross_entropy, class_balanced_weights
from perser.personalizer import Personalizer

QUERY_BATCH = 64


class RecognizerPredictor:
    """A recogniser with one person's weights in place of its own."""

    def __init__(
        self, model: EmotionRecognizer, source: ClipSource, weights: Weights, logit_bias: Tensor | None = None
    ) -> None:
        self._model = model
        self._source = source
        self._weights = weights
        self._logit_bias = logit_bias

    @torch.no_grad()
    def logits(self, utterances: Sequence[str]) -> Tensor:
        """Logits (num_utterances, num_emotions)."""
        parts = [utterances[i : i + QUERY_BATCH] for i in range(0, len(utterances), QUERY_BATCH)]
        logits = torch.cat(
            [functional_call(self._model, self._weights, (self._source.batch(part),)) for part in parts]
        )
        return logits if self._logit_bias is None else logits + self._logit_bias

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        """float32 (num_utterances, num_emotions), rows sum to 1."""
        return self.logits(utterances).softmax(dim=-1).cpu().numpy()


class Unadapted(Personalizer):
    """The recogniser as it is, whoever asks (the paper's Entire-Zero)."""

    route: ClassVar[str] = "meta-perser"

    def __init__(self, model: EmotionRecognizer, source: ClipSource) -> None:
        self._predictor = RecognizerPredictor(model, source, {})

    def personalize(self, support: Support) -> RecognizerPredictor:
        return self._predictor


class GradientPersonalizer(Personalizer):
    """`steps` gradient steps on the support, all of it in one batch (Meta-PerSER 3.3)."""

    route: ClassVar[str] = "meta-perser"

    def __init__(
        self,
        model: EmotionRecognizer,
        source: ClipSource,
        rates: LearnedRates | ConstantRate,
        loss: LossFunction,
        steps: int,
    ) -> None:
        self._model = model
        self._source = source
        self._rates = rates
        self._loss = loss
        self._steps = steps

    def personalize(self, support: Support) -> RecognizerPredictor:
        targets = target_tensor(self._model.emotions, support.emotions, self._model)
        batch = self._source.batch(support.utterances)
        with torch.enable_grad():
            weights = adapt(self._model, self._rates, batch, targets, self._loss, self._steps)
        return RecognizerPredictor(self._model, self._source, weights)


def target_tensor(emotions: EmotionSet, labels: Sequence[Emotions], model: EmotionRecognizer) -> Tensor:
    """Label distributions (num_utterances, num_emotions) on the model's device and dtype."""
    return torch.as_tensor(emotions.distribution(labels)).to(model.layer_logits)


def training_class_weights(tasks: Sequence[Task], emotions: EmotionSet) -> Tensor:
    """Class-balanced weights (num_emotions,) from how often each emotion is given in these tasks."""
    positives = sum(emotions.multi_hot(task.emotions).sum(axis=0) for task in tasks)
    return class_balanced_weights(torch.as_tensor(positives), sum(len(task.utterances) for task in tasks))


def balanced_loss(class_weights: Tensor, label_smoothing: float = 0.0) -> LossFunction:
    """Class-balanced soft cross-entropy with these weights."""
    return partial(class_balanced_cross_entropy, class_weights=class_weights, label_smoothing=label_smoothing)
