"""The gradient route on single clips, as `perser.inference.recognizer` uses it.

A meta-trained model adapts as the method `meta-perser` does; SSL-E and the linear model adapt as `head-few`
does, with the rate that was chosen for their head. An audio classifier of transformers, for which nothing
was chosen, gets a bias of each emotion. A profile holds the adapted weights and, where the head alone moves,
the time means of the enrolled clips, so that it can go on learning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from meta_perser.adaptation.bias import BiasPersonalizer
from meta_perser.adaptation.meta_trained import RATES_FILE, MetaPerSER
from meta_perser.adaptation.personalizer import GradientPersonalizer
from meta_perser.adaptation.predictor import RecognizerPredictor, embeddings
from meta_perser.adaptation.proximal.personalizer import ProximalPersonalizer
from meta_perser.baselines import fine_tuning
from meta_perser.options import CONFIG
from meta_perser.recognizer.batches import ClipSource, PooledClips, moments_of_clips
from meta_perser.recognizer.checkpoint import recognizer_of
from meta_perser.recognizer.model import EmotionRecognizer, saved_settings
from perser.encoders.feature_cache import AudioSource
from perser.encoders.moments import check_moments
from perser.episodes.episode import Support
from perser.errors import UserError, explain_damage
from perser.labels import Emotions, EmotionSet

CLIPS = "enrolled-clips"
"""Name of a profile's tensor with the time means of the enrolled clips, (K, L + 1, D)."""

UNTUNED = "untuned"
"""A saved setting of a classifier that was exported as it was: nothing was chosen for it."""


Adapts = GradientPersonalizer | ProximalPersonalizer | BiasPersonalizer
"""What adapts a recognizer to clips of one source."""


class GradientModel:
    """A trained recognizer and how it is adapted (a `perser.route.GrowingRouteModel`)."""

    route: ClassVar[str] = "meta-perser"

    def __init__(
        self,
        model: EmotionRecognizer,
        personalizer: Callable[[ClipSource], Adapts],
    ) -> None:
        self.model = model.eval()
        self._personalizer = personalizer
        self._trained = self
        """The model as it was trained, of which this one may be a copy with other labels."""

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Load a model. Raises UserError for one without a head that could be fine-tuned (that of
        `multi-few`)."""
        if (folder / RATES_FILE).is_file():
            trained = MetaPerSER.from_pretrained(folder)
            return cls(trained.model, trained.personalizer)
        extra = saved_settings(folder)
        with explain_damage(f"the model in {folder}", "train it again"):
            chosen = extra["fine_tune"].get("head")
        if chosen is None:
            raise UserError(
                f"the model in {folder} has no head of its own: give SSL-E's or a meta-trained one"
            )
        model = EmotionRecognizer.from_pretrained(folder)
        with explain_damage(f"the model in {folder}", "train it again"):
            model.set_scope(chosen["scope"])
            rate = float(chosen["rate"])
        return cls(model, lambda source: fine_tuning(model, source, rate, extra))

    @property
    def emotions(self) -> EmotionSet:
        return self.model.emotions

    def fingerprint(self) -> str:
        return self._trained.model.fingerprint()

    def num_weights(self) -> int:
        return sum(weight.numel() for weight in self.model.parameters())

    def with_labels(self, labels: EmotionSet) -> GradientModel:
        """Return this model with a new head over these labels (a `perser.route.OpenRouteModel`)."""
        own = self._trained._personalizer

        def personalizer(source: ClipSource) -> Adapts:
            adapts = own(source)
            assert not isinstance(adapts, BiasPersonalizer)  # its model has no other labels (`UntunedModel`)
            return adapts.with_labels(labels)

        opened = GradientModel(self.model.with_labels(labels), personalizer)
        opened._trained = self._trained
        return opened

    def to(self, device: str) -> None:
        self.model.to(device)

    def personalizer(self, source: ClipSource) -> Adapts:
        """Return what adapts the model to clips of a source."""
        return self._personalizer(source)

    def encode_clips(self, clips: AudioSource) -> ClipSource:
        return ClipSource(clips, self.model, cache=None)

    def embed_clips(self, encoded: ClipSource, names: Sequence[str]) -> np.ndarray:
        return embeddings(self.model, encoded, names).cpu().numpy()

    def enroll(self, encoded: ClipSource, support: Support) -> dict[str, Tensor]:
        # A head over other labels adapts in a copy of the model that has the same names of weights.
        weights = self._personalizer(encoded).personalize(support).weights
        learned = {name: weight.detach() for name, weight in weights.items()}
        if self._moves_head_alone:
            learned[CLIPS] = encoded.batch(support.utterances).lower
        return learned

    def encode_more(
        self, tensors: Mapping[str, Tensor], enrolled: Sequence[str], clips: AudioSource
    ) -> ClipSource | None:
        if CLIPS not in tensors:
            return None
        means = dict(zip(enrolled, tensors[CLIPS].cpu(), strict=True))
        added = self.encode_clips(clips).batch(clips.utterance_ids).lower.cpu()
        return PooledClips(means | dict(zip(clips.utterance_ids, added, strict=True)), self.model)

    @property
    def standardization(self) -> Literal["enrolled", "model"]:
        """A head that was trained on the model's own standardization keeps it (see docs/other_corpora.md)."""
        return "model" if self is self._trained else "enrolled"

    def moments(
        self, encoded: ClipSource, names: Sequence[str], prior_clips: float
    ) -> tuple[Tensor, Tensor] | None:
        if not self.model.standardizes:
            return None
        return moments_of_clips(self.model, encoded, names, prior_clips)

    def standardized(self, mean: Tensor, deviation: Tensor) -> GradientModel:
        check_moments(mean, deviation, self.model.state_mean)
        own = self._personalizer

        def personalizer(source: ClipSource) -> Adapts:
            adapts = own(source)
            assert not isinstance(adapts, BiasPersonalizer)  # its model reads states as they are
            return adapts.standardized(mean, deviation)

        moved = GradientModel(self.model.standardized(mean, deviation), personalizer)
        moved._trained = self._trained
        return moved

    @property
    def _moves_head_alone(self) -> bool:
        return self.model.lowest_layer == self.model.encoder.num_layers

    def predictor(self, tensors: Mapping[str, Tensor], labels: Sequence[Emotions]) -> GradientPredictor:
        weights = {name: tensor for name, tensor in tensors.items() if name != CLIPS}
        if tensors and _shapes(weights) != _shapes(self.model.trainable_parameters()):
            raise UserError("its weights are not those that the model moves")
        shape = (len(labels), *self.model.state_mean.shape)
        if CLIPS in tensors and not (self._moves_head_alone and tensors[CLIPS].shape == shape):
            raise UserError("its clips are not those of its labels")
        device = self.model.layer_logits.device
        return GradientPredictor(self.model, {name: tensor.to(device) for name, tensor in weights.items()})


class UntunedModel(GradientModel):
    """An audio classifier of transformers as it is. It learns a bias of each emotion."""

    def __init__(self, model: EmotionRecognizer) -> None:
        super().__init__(model, lambda source: BiasPersonalizer(model, source))

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Load transformers' folder, or one that was exported. Raises UserError for what is none."""
        if (folder / CONFIG).is_file():
            return cls(EmotionRecognizer.from_pretrained(folder))
        return cls(recognizer_of(str(folder)))

    def moments(self, encoded: ClipSource, names: Sequence[str], prior_clips: float) -> None:
        """Return None: a classifier reads its states as they are."""

    def with_labels(self, labels: EmotionSet) -> GradientModel:
        """Raise UserError: new labels need gradient steps."""
        raise UserError(
            "no learning rate was chosen for this model, so that it cannot learn labels of your own: choose "
            "one with `perser pretrain --from MODEL --epochs 0`, or use its emotions, "
            f"{', '.join(self.emotions.names)}"
        )


def load_model(folder: Path) -> GradientModel:
    """Load the recognizer or the audio classifier in a folder. Raises UserError for what is none."""
    if not (folder / CONFIG).is_file() or saved_settings(folder).get(UNTUNED):
        return UntunedModel.from_pretrained(folder)
    return GradientModel.from_pretrained(folder)


class GradientPredictor:
    """The recognizer with one person's weights, or with its own where there are none."""

    def __init__(self, model: EmotionRecognizer, weights: dict[str, Tensor]) -> None:
        self._model = model
        self._weights = weights

    def predict_proba(self, encoded: ClipSource, names: Sequence[str]) -> np.ndarray:
        return RecognizerPredictor(self._model, encoded, self._weights).predict_proba(names)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
