"""The personalizers that take gradient steps on the support: Meta-PerSER and the fine-tuning baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from meta_perser.adaptation.adaptation_loss import WeightedLoss, Weights
from meta_perser.adaptation.batched_adaptation import adapt_batched, adaptation_groups
from meta_perser.adaptation.inner_loop import adapt
from meta_perser.adaptation.lslr import ConstantRate, Rates
from meta_perser.adaptation.open_head import head_of_support
from meta_perser.adaptation.predictor import RecognizerPredictor
from meta_perser.recognizer.batches import ClipSource, moments_of_clips, standardized_by
from meta_perser.recognizer.model import EmotionRecognizer
from meta_perser.scope import lora_rank
from perser.device import seeded
from perser.episodes.episode import Support
from perser.labels import EmotionSet
from perser.personalizer import Personalizer, Predictor
from perser.selection.grid import Found


class Unadapted(Personalizer):
    """The recognizer as it is, the same for every person (the paper's Entire-Zero)."""

    route: ClassVar[str] = "meta-perser"

    def __init__(self, model: EmotionRecognizer, source: ClipSource) -> None:
        self._model = model
        self._predictor = RecognizerPredictor(model, source, {})

    def personalize(self, support: Support) -> RecognizerPredictor:
        return self._predictor

    def predict_support(self, support: Support) -> np.ndarray:
        """Return the probabilities of a support's utterances; nothing is learned from it."""
        return self._predictor.predict_proba(support.utterances)

    def standardized_by(self, clips: Sequence[str], prior_clips: float) -> Unadapted:
        source = self._predictor.source
        return Unadapted(standardized_by(self._model, source, clips, prior_clips), source)

    def parameters(self) -> dict[str, int]:
        return {"trained": self._model.trained_parameters, "moved": 0}


class GradientPersonalizer(Personalizer):
    """Takes `steps` gradient steps on the support, all of it in one batch (Meta-PerSER 3.3)."""

    route: ClassVar[str] = "meta-perser"

    def __init__(
        self, model: EmotionRecognizer, source: ClipSource, rates: Rates, loss: WeightedLoss, steps: int
    ) -> None:
        self.model = model
        self.source = source
        self._rates = rates
        self._loss = loss
        self._steps = steps
        self.trained_as: Mapping[str, object] = {}
        """How the model was meta-trained, for `describe`; empty for a model that was not."""
        self.chosen_among: Found | None = None
        """The range in which the rate was found, for `describe`; None where that is not known."""

    def start(self, support: Support) -> Weights:
        """Return theta_0: the recognizer's own weights."""
        return {name: parameter.detach() for name, parameter in self.model.trainable_parameters().items()}

    def personalize(self, support: Support) -> RecognizerPredictor:
        targets = self.model.targets(support.emotions)
        batch = self.source.batch(support.utterances)
        with torch.enable_grad():
            weights = adapt(
                self.model, self._rates, batch, targets, self._loss, self._steps, self.start(support)
            )
        return RecognizerPredictor(self.model, self.source, weights)

    @property
    def adapts_together(self) -> bool:
        """Whether `personalize_many` adapts several persons at once; where layers of the trunk move, it does
        not."""
        return (
            self.model.lowest_layer == self.model.encoder.num_layers
            or lora_rank(self.model.scope) is not None
        )

    def personalize_many(self, supports: Sequence[Support]) -> list[Predictor]:
        """Adapt several persons at once where that is faster (see `batched_adaptation.adaptation_groups`)."""
        if not self.adapts_together:
            return super().personalize_many(supports)
        supports = [self._shortest_first(support) for support in supports]
        lengths = [[self.source.num_frames(name) for name in support.utterances] for support in supports]
        predictors: dict[int, Predictor] = {}
        for indices in adaptation_groups(self.model, lengths):
            group = [supports[index] for index in indices]
            adapted = self._personalize_group(group) if len(group) > 1 else [self.personalize(group[0])]
            predictors |= dict(zip(indices, adapted, strict=True))
        return [predictors[index] for index in range(len(supports))]

    def _shortest_first(self, support: Support) -> Support:
        """Return the pairs, shortest clip first; a step on all of them does not depend on their order."""
        frames = [self.source.num_frames(name) for name in support.utterances]
        return support.ordered(sorted(range(len(support)), key=frames.__getitem__))

    def _personalize_group(self, supports: Sequence[Support]) -> list[RecognizerPredictor]:
        """Adapt persons with equally many pairs, shortest clip first, at once."""
        starts = [self.start(support) for support in supports]
        weights = adapt_batched(
            self.model,
            {name: torch.stack([theta[name] for theta in starts]) for name in starts[0]},
            self._rates,
            self.source.stacked_batch([support.utterances for support in supports]),
            torch.stack([self.model.targets(support.emotions) for support in supports]),
            self._loss,
            self._steps,
        )
        return [
            RecognizerPredictor(self.model, self.source, {name: stack[i] for name, stack in weights.items()})
            for i in range(len(supports))
        ]

    def with_labels(self, labels: EmotionSet) -> GradientPersonalizer:
        """Return the same adaptation with a new head over these labels, which starts from their clips."""
        return self._with_head(labels, partial(PrototypePersonalizer, trained_head=self.model.classifier))

    def _with_head(
        self, labels: EmotionSet, kind: Callable[..., GradientPersonalizer]
    ) -> GradientPersonalizer:
        """Return the same adaptation of a new head, as `kind` starts it; all labels count the same."""
        model = self.model.with_labels(labels)
        loss = partial(self._loss, class_weights=torch.ones(len(labels), device=model.layer_logits.device))
        opened = kind(model, self.source, self._rates, loss, self._steps)
        opened.trained_as = self.trained_as
        return opened

    def standardized_by(self, clips: Sequence[str], prior_clips: float) -> GradientPersonalizer:
        return self.standardized(*moments_of_clips(self.model, self.source, clips, prior_clips))

    def standardized(self, mean: Tensor, scale: Tensor) -> GradientPersonalizer:
        """Return the same adaptation of a recognizer with another standardization."""
        moved = copy(self)
        moved.model = self.model.standardized(mean, scale)
        return moved

    def describe(self) -> dict[str, object]:
        rate: object = "learned"
        if isinstance(self._rates, ConstantRate):
            different = sorted({float(f"{rate:.6g}") for rate in self._rates.rate.view(-1).tolist()})
            rate = different[0] if len(different) == 1 else different  # without float32's digits
        tried = {} if self.chosen_among is None else {"rates tried": self.chosen_among.text}
        return {"scope": self.model.scope, "steps": self._steps, "rate": rate, **tried, **self.trained_as}

    def parameters(self) -> dict[str, int]:
        learned = sum(parameter.numel() for parameter in self._rates.parameters())
        moved = sum(parameter.numel() for parameter in self.model.trainable_parameters().values())
        return {"trained": self.model.trained_parameters + learned, "moved": moved}


class PrototypePersonalizer(GradientPersonalizer):
    """Starts from a head that compares a clip with the mean of each label's clips, and descends from there.

    `trained_head`: the head that the recognizer was trained with.
    """

    def __init__(self, *arguments: Any, trained_head: nn.Linear) -> None:
        super().__init__(*arguments)
        self._trained_head = trained_head

    def start(self, support: Support) -> Weights:
        """Return the recognizer's own weights with a head of the support's prototypes."""
        head = head_of_support(self.model, self.source, support, self._trained_head)
        return super().start(support) | head

    def describe(self) -> dict[str, object]:
        return super().describe() | {"start": "prototypes"}


class NewHeadPersonalizer(GradientPersonalizer):
    """Learns two new linear layers from the support, drawn with its seed (the paper's Multi-Few)."""

    def start(self, support: Support) -> Weights:
        """Return fresh weights of the two linear layers, drawn as torch initializes them."""
        with seeded(support.seed):
            fresh = {
                layer: nn.Linear(own.in_features, own.out_features)
                for layer, own in (("projector", self.model.projector), ("classifier", self.model.classifier))
            }
        return {
            f"{layer}.{name}": parameter.detach().to(self.model.layer_logits)
            for layer, linear in fresh.items()
            for name, parameter in linear.named_parameters()
        }

    def with_labels(self, labels: EmotionSet) -> GradientPersonalizer:
        return self._with_head(labels, NewHeadPersonalizer)

    def describe(self) -> dict[str, object]:
        return super().describe() | {"start": "a new head"}
