"""What every contender is given: one model, one person's support, one rate."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from benchmarks.speed.timing.measure import Precision
from benchmarks.speed.timing.speech import speech, targets
from meta_perser.recognizer.model import EmotionRecognizer
from perser.corpora.readers.iemocap import EMOTIONS
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.families import Wav2Vec2Family
from perser.labels import EmotionSet
from perser.losses import class_balanced_cross_entropy

RATE = 0.01
"""Inner learning rate of every contender."""


@dataclass(frozen=True)
class Case:
    """A recognizer and one person's support: waveforms (num_samples,) and target distributions
    (K, num_emotions), on the model's device."""

    model: EmotionRecognizer
    waveforms: list[Tensor]
    targets: Tensor
    precision: Precision

    @property
    def device(self) -> torch.device:
        return self.targets.device

    @property
    def moving(self) -> list[Tensor]:
        """What adapts, in the model's order."""
        return list(self.model.moving_parameters().values())

    def autocast(self) -> AbstractContextManager[Any]:
        """What every contender's model runs in."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def make_case(
    shapes: dict[str, Any],
    clips: int,
    device: str,
    precision: Precision = "float32",
    seed: int = 0,
    scope: str = "all",
) -> Case:
    """A random wav2vec 2.0 of these shapes with its head, and `clips` clips."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network, extractor = make_network(shapes), Wav2Vec2FeatureExtractor()
        encoder = SpeechEncoder("random wav2vec2", network, extractor, Wav2Vec2Family())
        model = EmotionRecognizer(encoder, EmotionSet(EMOTIONS), scope).to(device)
    answers = targets(clips, len(EMOTIONS), seed)
    return Case(model, speech(clips, seed), answers.to(device), precision)


def make_network(shapes: dict[str, Any]) -> Wav2Vec2Model:
    """wav2vec2-base but for these shapes, with random weights; without the vector that masks training
    frames, which adaptation leaves unused."""
    return Wav2Vec2Model(Wav2Vec2Config(**shapes, mask_time_prob=0.0, mask_feature_prob=0.0))


def loss(logits: Tensor, answers: Tensor) -> Tensor:
    """The loss of every contender, in float32."""
    return class_balanced_cross_entropy(logits.float(), answers)
