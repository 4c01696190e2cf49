"""The speech LM on single clips, as `perser.inference.recognizer` uses it.

A profile holds the features of the enrolled clips, in order, and their labels: they are small and do not
depend on how a language model stores its keys and values, which are computed again from them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from perser.encoders.feature_cache import AudioSource, FeatureStore, cached_features
from perser.encoders.moments import blended_moments, check_moments
from perser.episodes.episode import Support
from perser.errors import UserError
from perser.io.checksums import file_sha256
from perser.labels import Emotions, EmotionSet
from speechlm_icl.model.language_model import ADAPTER_FOLDER, LANGUAGE_MODEL_FOLDER
from speechlm_icl.model.saved_model import WEIGHTS
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.personalizer import SpeechLMPersonalizer, SpeechLMPredictor
from speechlm_icl.projectors.base import clips_on, read_clips
from speechlm_icl.scoring.matching import Matcher
from speechlm_icl.scoring.opinion_pool import PooledAnswers
from speechlm_icl.scoring.prefix_cache import PrefixCache


class SpeechLM:
    """A trained speech language model (a `perser.route.GrowingRouteModel`)."""

    route: ClassVar[str] = "speech-lm"

    def __init__(self, model: SpeechLMForICL, folder: Path) -> None:
        self.model = model
        self._folder = folder
        _ = model.speech_encoder  # loads it, or fails, now and not at the first clip

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        return cls(SpeechLMForICL.from_pretrained(folder), folder)

    @property
    def emotions(self) -> EmotionSet:
        return self.model.prompt.emotions

    def num_weights(self) -> int:
        parts = (self.model, self.model.speech_encoder)
        return sum(weight.numel() for part in parts for weight in part.parameters())

    def with_labels(self, labels: EmotionSet) -> SpeechLM:
        """Return this model with other labels in its prompts (a `perser.route.OpenRouteModel`)."""
        return SpeechLM(self.model.with_labels(labels), self._folder)

    @property
    def other_label(self) -> str | None:
        """The word for a clip that has none of the labels (a `perser.route.OtherRouteModel`)."""
        return self.model.other_label

    @property
    def level(self) -> str:
        """Level of the features that the projector reads (`perser.encoders.feature_cache`)."""
        return self.model.projector.options.level

    def fingerprint(self) -> str:
        config = self.model.config
        settings = {name: getattr(config, name) for name in ("emotions", "prompt", "projector", "lora")}
        if not config.prompt["bind"]:  # the same as version 0.1.0, which could not bind
            settings["prompt"] = {
                name: value for name, value in config.prompt.items() if name not in ("bind", "other")
            }
        settings["encoder"] = config.encoder_revision or config.encoder
        settings["language_model"] = config.language_model_revision or config.language_model
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        trained = [
            file
            for part in (ADAPTER_FOLDER, LANGUAGE_MODEL_FOLDER)
            for file in self._folder.glob(f"{part}/*.safetensors")
        ]
        for file in sorted([self._folder / WEIGHTS, *trained]):
            digest.update(f"{file.name} {file_sha256(file)}".encode())
        return digest.hexdigest()

    def to(self, device: str) -> None:
        if device != "cpu":  # quantized weights cannot be moved, not even to where they are
            self.model.to(device)

    def encode_clips(self, clips: AudioSource) -> FeatureStore:
        return cached_features(clips, self.model.speech_encoder, self.level, cache=None)

    @torch.inference_mode()
    def embed_clips(self, encoded: FeatureStore, names: Sequence[str]) -> np.ndarray:
        """Return the mean of each clip's audio tokens."""
        clips = self.model.projector(clips_on(read_clips(encoded, names), self.model.device))
        return torch.stack([clip.float().mean(dim=0) for clip in clips]).cpu().numpy()

    def enroll(self, encoded: FeatureStore, support: Support) -> dict[str, Tensor]:
        return {_clip_name(number): encoded[name] for number, name in enumerate(support.utterances)}

    @property
    def standardization(self) -> Literal["enrolled"]:
        """Its answers are better by the enrolled clips (see docs/other_corpora.md)."""
        return "enrolled"

    def moments(
        self, encoded: FeatureStore, names: Sequence[str], prior_clips: float
    ) -> tuple[Tensor, Tensor]:
        own = self.model.projector
        return blended_moments((encoded[name] for name in names), own.mean, own.std, prior_clips)

    def standardized(self, mean: Tensor, deviation: Tensor) -> SpeechLM:
        check_moments(mean, deviation, self.model.projector.mean)
        return SpeechLM(self.model.standardized(mean, deviation), self._folder)

    def encode_more(
        self, tensors: Mapping[str, Tensor], enrolled: Sequence[str], clips: AudioSource
    ) -> FeatureStore | None:
        encoded = self.encode_clips(clips)
        features = {name: tensors[_clip_name(number)].numpy() for number, name in enumerate(enrolled)}
        features |= {name: encoded[name].numpy() for name in clips.utterance_ids}
        return FeatureStore.of(self.level, features)

    def predictor(self, tensors: Mapping[str, Tensor], labels: Sequence[Emotions]) -> SpeechLMReader:
        names = tuple(map(_clip_name, range(len(labels))))
        if set(tensors) != set(names) or not all(map(self._is_readable, tensors.values())):
            raise UserError("its features are not those that the model reads")
        store = FeatureStore.of(self.level, {name: tensors[name].numpy() for name in names})
        enrolled = Support(names, tuple(labels), seed=0)
        personal = SpeechLMPersonalizer(self.model, store).predictor_after(enrolled)
        return SpeechLMReader(self.model, personal.enrollments, personal.matcher, personal.pool)

    def _is_readable(self, features: Tensor) -> bool:
        """Return whether features are (L+1, D) for a projector of means over time, (num_windows, L+1, D)
        otherwise."""
        before = () if self.level == "pooled" else (len(features),)
        return features.dtype == torch.float32 and features.shape == (
            *before,
            *self.model.config.feature_shape,
        )


class SpeechLMReader:
    """The language model that has read one person's enrollment, or none."""

    def __init__(
        self,
        model: SpeechLMForICL,
        enrollments: Sequence[PrefixCache],
        matcher: Matcher | None = None,
        pool: PooledAnswers | None = None,
    ) -> None:
        self._model = model
        self._enrollments = enrollments
        self._matcher = matcher
        self._pool = pool

    def predict_proba(self, encoded: FeatureStore, names: Sequence[str]) -> np.ndarray:
        predictor = SpeechLMPredictor(
            self._model, encoded, self._enrollments, matcher=self._matcher, pool=self._pool
        )
        return predictor.predict_proba(names)


def _clip_name(number: int) -> str:
    return f"clip-{number}"
