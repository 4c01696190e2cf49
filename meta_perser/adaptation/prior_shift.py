"""Prior-Shift: a bias over the emotions, fitted to the support and added to SSL-E's logits.

A method that learns only how often a person uses each label scores about this well. One that claims to learn
more must beat it.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from meta_perser.adaptation.predictor import RecognizerPredictor
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer
from perser.episodes.episode import Support
from perser.personalizer import Personalizer

NEWTON_STEPS = 20


def fit_bias(logits: Tensor, targets: Tensor, strength: float) -> Tensor:
    """Return the bias b (C,) that fits the support best, in float64.

    It minimizes the summed cross-entropy of softmax(logits + b) against the target distributions, plus
    strength / 2 * |b|^2: the most likely bias under the prior b ~ N(0, 1 / strength). Strictly convex for
    strength > 0; solved by damped Newton steps. `logits`, `targets`: (K, C).
    """
    logits, targets = logits.double(), targets.double()
    bias = torch.zeros(logits.shape[1], dtype=torch.float64, device=logits.device)

    def objective(candidate: Tensor) -> Tensor:
        cross_entropy = -(targets * (logits + candidate).log_softmax(dim=-1)).sum()
        return cross_entropy + strength / 2 * candidate.square().sum()

    for _ in range(NEWTON_STEPS):
        predicted = (logits + bias).softmax(dim=-1)
        gradient = (predicted - targets).sum(dim=0) + strength * bias
        hessian = torch.diag(predicted.sum(dim=0) + strength) - predicted.T @ predicted
        step = torch.linalg.solve(hessian, gradient)
        size = 1.0
        while objective(bias - size * step) > objective(bias) and size > 1e-6:
            size /= 2
        bias = bias - size * step
    return bias


class PriorShift(Personalizer):
    """SSL-E with a fitted bias; its `strength` is chosen on validation episodes."""

    route: ClassVar[str] = "meta-perser"

    def __init__(self, model: EmotionRecognizer, source: ClipSource, strength: float) -> None:
        self.model = model
        self.source = source
        self._strength = strength

    def personalize(self, support: Support) -> RecognizerPredictor:
        unshifted = RecognizerPredictor(self.model, self.source, {})
        logits = unshifted.logits(support.utterances)
        targets = self.model.targets(support.emotions)
        bias = fit_bias(logits, targets, self._strength).to(logits)
        return RecognizerPredictor(self.model, self.source, {}, logit_bias=bias)

    def describe(self) -> dict[str, object]:
        return {"scope": "a bias on the logits", "strength": self._strength}

    def parameters(self) -> dict[str, int]:
        return {"trained": self.model.trained_parameters, "moved": len(self.model.emotions)}
