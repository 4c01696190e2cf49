"""Personalizing by gradient steps: what Meta-PerSER and the fine-tuning baselines share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from meta_perser.adaptation.batched_adaptation import adapt_batched, adaptation_groups
from meta_perser.adaptation.inner_loop import LossFunction, Weights, adapt
from meta_perser.adaptation.lslr import ConstantRate, LearnedRates
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.recognizer.model import EmotionRecognizer
from meta_perser.scope import lora_rank
from perser.encoders.encoder import use_attention
from perser.episodes.episode import Support, Task
from perser.labels import Emotions, EmotionSet
from perser.losses import class_balanced_cross_entropy, class_balanced_weights
from perser.personalizer import Personalizer, Predictor

QUERY_BATCH = 64


class RecognizerPredictor:
    """A recognizer (a module that gives logits of a `ClipBatch`) with one person's weights in place of its
    own."""

    def __init__(
        self, model: nn.Module, source: ClipSource, weights: Weights, logit_bias: Tensor | None = None
    ) -> None:
        self.model = model
        self.source = source
        self.weights = weights
        self.logit_bias = logit_bias

    @torch.no_grad()
    def logits(self, utterances: Sequence[str]) -> Tensor:
        """Logits (num_utterances, num_emotions)."""
        with use_attention(self.model, "sdpa"):
            logits = torch.cat(
                [
                    functional_call(self.model, self.weights, (batch,))
                    for batch in query_batches(self.source, utterances)
                ]
            )
        return logits if self.logit_bias is None else logits + self.logit_bias

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        """float32 (num_utterances, num_emotions), rows sum to 1."""
        return self.logits(utterances).softmax(dim=-1).cpu().numpy()


class Unadapted(Personalizer):
    """The recognizer as it is, whoever asks (the paper's Entire-Zero)."""

    route: ClassVar[str] = "meta-perser"

    def __init__(self, model: nn.Module, source: ClipSource) -> None:
        self._predictor = RecognizerPredictor(model, source, {})

    def personalize(self, support: Support) -> RecognizerPredictor:
        return self._predictor

    def parameters(self) -> dict[str, int]:
        return {"trained": self._predictor.model.trained_parameters, "moved": 0}


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
        self.model = model
        self.source = source
        self._rates = rates
        self._loss = loss
        self._steps = steps

    def start(self, support: Support) -> Weights:
        """The weights before the first step: the recognizer's own."""
        return {name: one.detach() for name, one in self.model.moving_parameters().items()}

    def personalize(self, support: Support) -> RecognizerPredictor:
        targets = target_tensor(self.model.emotions, support.emotions, self.model)
        batch = self.source.batch(support.utterances)
        with torch.enable_grad():
            weights = adapt(
                self.model, self._rates, batch, targets, self._loss, self._steps, self.start(support)
            )
        return RecognizerPredictor(self.model, self.source, weights)

    def personalize_many(self, supports: Sequence[Support]) -> list[Predictor]:
        """Where only the head or adapters move, several persons at once as far as that pays (see
        `meta_perser.adaptation_groups`)."""
        if self.model.lowest != self.model.encoder.num_layers and lora_rank(self.model.scope) is None:
            return super().personalize_many(supports)
        supports = [self._shortest_first(support) for support in supports]
        lengths = [[self.source.num_frames(one) for one in support.utterances] for support in supports]
        found: dict[int, Predictor] = {}
        for places in adaptation_groups(self.model, lengths):
            company = [supports[place] for place in places]
            done = self._together(company) if len(company) > 1 else [self.personalize(company[0])]
            found |= dict(zip(places, done, strict=True))
        return [found[place] for place in range(len(supports))]

    def _shortest_first(self, support: Support) -> Support:
        """The same pairs: their order is nothing that a step on all of them sees."""
        frames = [self.source.num_frames(one) for one in support.utterances]
        return support.ordered(sorted(range(len(support)), key=frames.__getitem__))

    def _together(self, supports: Sequence[Support]) -> list[RecognizerPredictor]:
        """Several persons with equally many pairs, shortest first, the head or adapters moving."""
        starts = [self.start(support) for support in supports]
        weights = adapt_batched(
            self.model,
            {name: torch.stack([one[name] for one in starts]) for name in starts[0]},
            self._rates,
            self.source.batch_alike([support.utterances for support in supports]),
            torch.stack([target_tensor(self.model.emotions, one.emotions, self.model) for one in supports]),
            self._loss,
            self._steps,
        )
        return [
            RecognizerPredictor(self.model, self.source, {name: one[i] for name, one in weights.items()})
            for i in range(len(supports))
        ]

    def describe(self) -> dict[str, object]:
        constant = isinstance(self._rates, ConstantRate)
        rate = float(f"{self._rates.rate.item():.6g}") if constant else "learned"  # not float32's digits
        return {"scope": self.model.scope, "steps": self._steps, "rate": rate}

    def parameters(self) -> dict[str, int]:
        learned = sum(one.numel() for one in self._rates.parameters())
        moved = sum(one.numel() for one in self.model.moving_parameters().values())
        return {"trained": self.model.trained_parameters + learned, "moved": moved}


class NewHeadPersonalizer(GradientPersonalizer):
    """Learns two new linear layers from the support, drawn from its seed (the paper's Multi-Few)."""

    def start(self, support: Support) -> Weights:
        """Fresh weights of the two linear layers, as torch draws them."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(support.seed)
            fresh = {
                part: nn.Linear(one.in_features, one.out_features)
                for part, one in (("projector", self.model.projector), ("classifier", self.model.classifier))
            }
        return {
            f"{part}.{name}": one.detach().to(self.model.layer_logits)
            for part, linear in fresh.items()
            for name, one in linear.named_parameters()
        }

    def describe(self) -> dict[str, object]:
        return super().describe() | {"start": "a new head"}


def query_batches(source: ClipSource, utterances: Sequence[str]) -> Iterator[ClipBatch]:
    """The utterances in order, at most QUERY_BATCH at once."""
    for first in range(0, len(utterances), QUERY_BATCH):
        yield source.batch(utterances[first : first + QUERY_BATCH])


@torch.no_grad()
def embeddings(model: EmotionRecognizer, source: ClipSource, utterances: Sequence[str]) -> Tensor:
    """What the classifier reads: (num_utterances, D)."""
    with use_attention(model, "sdpa"):
        return torch.cat([model.embed(batch) for batch in query_batches(source, utterances)])


def target_tensor(emotions: EmotionSet, labels: Sequence[Emotions], model: EmotionRecognizer) -> Tensor:
    """Label distributions (num_utterances, num_emotions) on the model's device and dtype."""
    # A copy: where NumPy's memory happens to begin would show in the last digit of matrix products.
    return torch.tensor(emotions.distribution(labels)).to(model.layer_logits)


def training_class_weights(tasks: Sequence[Task], emotions: EmotionSet) -> Tensor:
    """Class-balanced weights (num_emotions,) from how often each emotion is given in these tasks."""
    positives = sum(emotions.multi_hot(task.emotions).sum(axis=0) for task in tasks)
    return class_balanced_weights(torch.as_tensor(positives), sum(len(task.utterances) for task in tasks))


def balanced_loss(class_weights: Tensor, label_smoothing: float = 0.0) -> LossFunction:
    """Class-balanced soft cross-entropy with these weights."""
    return partial(class_balanced_cross_entropy, class_weights=class_weights, label_smoothing=label_smoothing)
