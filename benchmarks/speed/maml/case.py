"""The case that every contender is given: one model, one person's support, one learning rate."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from benchmarks.speed.maml.noise import noise_clips, random_targets
from benchmarks.speed.timing.rounds import Precision
from meta_perser.recognizer.model import EmotionRecognizer
from perser.corpora.readers.iemocap import EMOTIONS
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.families import Wav2Vec2Family
from perser.labels import EmotionSet
from perser.losses import class_balanced_cross_entropy

RATE = 0.01
"""Inner learning rate of every contender."""


@dataclass(frozen=True)
class MamlCase:
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
        """The parameters that adapt, in the model's order."""
        return list(self.model.trainable_parameters().values())

    @property
    def lengths(self) -> list[int]:
        """Samples of each clip."""
        return [len(waveform) for waveform in self.waveforms]

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which every contender's model runs."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def make_case(
    shapes: dict[str, Any],
    clips: int,
    device: str,
    precision: Precision = "float32",
    seed: int = 0,
    scope: str = "all",
) -> MamlCase:
    """Make a random wav2vec 2.0 of these shapes with its head, and `clips` clips."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network, extractor = make_network(shapes), Wav2Vec2FeatureExtractor()
        encoder = SpeechEncoder("random wav2vec2", network, extractor, Wav2Vec2Family())
        model = EmotionRecognizer(encoder, EmotionSet(EMOTIONS), scope)
        if device != "cpu":  # where it is already; fake tensors cannot be moved even there
            model.to(device)
    targets = random_targets(clips, len(EMOTIONS), seed)
    return MamlCase(model, noise_clips(clips, seed), targets.to(device), precision)


def make_network(shapes: dict[str, Any]) -> Wav2Vec2Model:
    """Make a wav2vec2-base, but for these shapes, with random weights.

    It lacks the vector that masks training frames, which adaptation does not use.
    """
    return Wav2Vec2Model(Wav2Vec2Config(**shapes, mask_time_prob=0.0, mask_feature_prob=0.0))


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of every contender, in float32."""
    return class_balanced_cross_entropy(logits.float(), targets)
