"""The personalizer of the proximal solver: it solves for a person's head, with no steps to count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import copy
from typing import ClassVar

import torch
from torch import Tensor, nn

from meta_perser.adaptation.open_head import head_of_support
from meta_perser.adaptation.predictor import RecognizerPredictor
from meta_perser.adaptation.proximal.head import AdaptedHead
from meta_perser.adaptation.proximal.strengths import Strengths
from meta_perser.recognizer.batches import ClipSource, moments_of_clips
from meta_perser.recognizer.model import EmotionRecognizer
from perser.episodes.episode import Support
from perser.labels import EmotionSet
from perser.personalizer import Personalizer, Predictor

PERSONS_AT_ONCE = 64


class ProximalPersonalizer(Personalizer):
    """Finds the head that fits the support best while it stays close to the recognizer's own."""

    route: ClassVar[str] = "meta-perser"

    def __init__(
        self,
        model: EmotionRecognizer,
        source: ClipSource,
        strengths: Strengths,
        label_smoothing: float = 0.0,
    ) -> None:
        self.model = model
        self.source = source
        self._strengths = strengths
        self._label_smoothing = label_smoothing
        self.trained_as: Mapping[str, object] = {}
        """How the model was meta-trained, for `describe`."""

    def personalize(self, support: Support) -> RecognizerPredictor:
        return self._solve_together([support])[0]

    def personalize_many(self, supports: Sequence[Support]) -> list[Predictor]:
        """Solve for many persons with equally many pairs at once."""
        by_size: dict[int, list[int]] = defaultdict(list)
        for index, support in enumerate(supports):
            by_size[len(support)].append(index)
        predictors: dict[int, Predictor] = {}
        for indices in by_size.values():
            for first in range(0, len(indices), PERSONS_AT_ONCE):
                group = indices[first : first + PERSONS_AT_ONCE]
                solved = self._solve_together([supports[index] for index in group])
                predictors |= zip(group, solved, strict=True)
        return [predictors[index] for index in range(len(supports))]

    @torch.no_grad()
    def _solve_together(self, supports: Sequence[Support]) -> list[RecognizerPredictor]:
        """Return the predictors of persons with equally many pairs."""
        batch = self.source.batch([name for support in supports for name in support.utterances])
        targets = self.model.targets([words for support in supports for words in support.emotions])
        head = AdaptedHead.fit(
            self.model, self._strengths, batch, targets, len(supports), self._label_smoothing
        )
        return [RecognizerPredictor(self.model, self.source, weights) for weights in head.weights(self.model)]

    def with_labels(self, labels: EmotionSet) -> ProximalPersonalizer:
        """Return the same solver for a new head over these labels, held to their clips' prototypes."""
        model = self.model.with_labels(labels)
        opened = ProximalPrototypePersonalizer(
            model, self.source, self._strengths, self._label_smoothing, self.model.classifier
        )
        opened.trained_as = self.trained_as
        return opened

    def standardized_by(self, clips: Sequence[str], prior_clips: float) -> ProximalPersonalizer:
        return self.standardized(*moments_of_clips(self.model, self.source, clips, prior_clips))

    def standardized(self, mean: Tensor, scale: Tensor) -> ProximalPersonalizer:
        """Return the same adaptation of a recognizer with another standardization."""
        moved = copy(self)
        moved.model = self.model.standardized(mean, scale)
        return moved

    def describe(self) -> dict[str, object]:
        scope = {"scope": f"the classifier ({self.model.scope} in training)", "solver": "proximal"}
        return {**scope, "lambda": self._strengths.describe(), **self.trained_as}

    def parameters(self) -> dict[str, int]:
        learned = sum(parameter.numel() for parameter in self._strengths.parameters())
        moved = sum(parameter.numel() for parameter in self.model.classifier.parameters())
        return {"trained": self.model.trained_parameters + learned, "moved": moved}


class ProximalPrototypePersonalizer(ProximalPersonalizer):
    """Finds the head that fits the support best while it stays close to the prototypes of its labels.

    `trained_head`: the head that the recognizer was trained with.
    """

    def __init__(
        self,
        model: EmotionRecognizer,
        source: ClipSource,
        strengths: Strengths,
        label_smoothing: float,
        trained_head: nn.Linear,
    ) -> None:
        super().__init__(model, source, strengths, label_smoothing)
        self._trained_head = trained_head

    def personalize(self, support: Support) -> RecognizerPredictor:
        head = head_of_support(self.model, self.source, support, self._trained_head)
        start = self.model.with_labels(self.model.emotions)
        with torch.no_grad():
            start.classifier.weight.copy_(head["classifier.weight"])
            start.classifier.bias.copy_(head["classifier.bias"])
        solver = ProximalPersonalizer(start, self.source, self._strengths, self._label_smoothing)
        return solver.personalize(support)

    def personalize_many(self, supports: Sequence[Support]) -> list[Predictor]:
        """Solve for one person after the other: each is held to a start of their own."""
        return [self.personalize(support) for support in supports]

    def describe(self) -> dict[str, object]:
        return super().describe() | {"start": "prototypes"}
