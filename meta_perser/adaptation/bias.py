"""The personalizer of a recognizer for which no learning rate was chosen: Prior-Shift on its own head.

What is added to the logits is added to the last layer's bias, so that a person's weights are those of the
same model, and answers differ by the bias alone.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from meta_perser.adaptation.predictor import RecognizerPredictor
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer
from perser.adjustments.recalibration import Priors, fit
from perser.episodes.episode import Support
from perser.personalizer import Personalizer


class BiasPersonalizer(Personalizer):
    """Fits a bias of each emotion to the support, as `prior-shift` does, with a strength of 1."""

    route: ClassVar[str] = "meta-perser"

    def __init__(self, model: EmotionRecognizer, source: ClipSource) -> None:
        self.model = model
        self.source = source

    def personalize(self, support: Support) -> RecognizerPredictor:
        plain = RecognizerPredictor(self.model, self.source, {})
        logits = plain.logits(support.utterances).double().cpu().numpy()
        targets = self.model.emotions.distribution(support.emotions)
        bias = fit(logits, targets, Priors()).bias
        weights = {name: value.detach() for name, value in self.model.trainable_parameters().items()}
        own = weights["classifier.bias"]
        weights["classifier.bias"] = own + torch.from_numpy(bias).to(own)
        return RecognizerPredictor(self.model, self.source, weights)

    def describe(self) -> dict[str, object]:
        return {"recalibrated": "a bias of the logits", "strength": Priors().bias}

    def parameters(self) -> dict[str, int]:
        return {"trained": self.model.trained_parameters, "moved": len(self.model.emotions)}
