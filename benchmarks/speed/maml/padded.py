"""The recognizer as one writes it on transformers: a padded batch of waveforms through the whole model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import Wav2Vec2FeatureExtractor

from benchmarks.speed.maml.case import MamlCase
from benchmarks.speed.maml.noise import SAMPLE_RATE
from meta_perser.recognizer.model import EmotionRecognizer

PaddedBatch = tuple[Tensor, Tensor]
"""Waveforms (B, num_samples) and which samples are real (B, num_samples)."""


class PaddedRecognizer(nn.Module):
    """A recognizer with our recognizer's parameters under the same names, and s3prl's layer sum and mean over
    time."""

    def __init__(self, model: EmotionRecognizer) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.layer_logits = model.layer_logits
        self.projector = model.projector
        self.classifier = model.classifier

    def forward(self, waveforms: Tensor, real: Tensor) -> Tensor:
        """Return logits (B, num_emotions)."""
        stacked = torch.stack([*self._hidden_states(waveforms, real)])
        frames = (self.layer_logits.softmax(dim=0).view(-1, 1, 1, 1) * stacked).sum(dim=0)
        mask = self._real_frames(frames.shape[1], real).unsqueeze(-1)
        pooled = (frames * mask).sum(dim=1) / mask.sum(dim=1)
        return self.classifier(self.projector(pooled))

    def _hidden_states(self, waveforms: Tensor, real: Tensor) -> Sequence[Tensor]:
        """Return L + 1 tensors (B, T, D), by the transformers model's own forward."""
        return self.encoder.model(waveforms, attention_mask=real, output_hidden_states=True).hidden_states

    def _real_frames(self, count: int, real: Tensor) -> Tensor:
        return self.encoder.model._get_feature_vector_attention_mask(count, real)


class HookFreeRecognizer(PaddedRecognizer):
    """The same recognizer for the library `higher`.

    `higher` copies a module without its forward hooks, with which transformers collects hidden states. So
    this one calls the model's own parts one after the other.
    """

    def _hidden_states(self, waveforms: Tensor, real: Tensor) -> Sequence[Tensor]:
        model = self.encoder.model
        frames = model.feature_extractor(waveforms).transpose(1, 2)
        mask = self._real_frames(frames.shape[1], real)
        hidden = model.feature_projection(frames)[0].masked_fill(~mask.unsqueeze(-1), 0.0)
        hidden = model.encoder.layer_norm(hidden + model.encoder.pos_conv_embed(hidden))
        return [hidden, *self.encoder.run_layers(hidden, mask)]


def padded_batch(case: MamlCase) -> PaddedBatch:
    """Return the support as transformers' feature extractor gives it."""
    batch = Wav2Vec2FeatureExtractor(return_attention_mask=True)(
        [waveform.numpy() for waveform in case.waveforms],
        sampling_rate=SAMPLE_RATE,
        padding=True,
        return_tensors="pt",
    )
    return batch.input_values.to(case.device), batch.attention_mask.to(case.device)


@contextmanager
def encoded_without_padding(
    model: EmotionRecognizer | PaddedRecognizer, lengths: Sequence[int]
) -> Iterator[None]:
    """Let the front-end read each clip of a batch without its padding.

    The group norm of the base models would mix the padding in; without it the outputs are exactly our
    recognizer's. `lengths`: samples of each clip.
    """
    network = model.encoder.model
    front_end = network.feature_extractor
    network.feature_extractor = _ClipByClip(front_end, lengths)
    try:
        yield
    finally:
        network.feature_extractor = front_end


class _ClipByClip(nn.Module):
    def __init__(self, front_end: nn.Module, lengths: Sequence[int]) -> None:
        super().__init__()
        self.front_end = front_end
        self.lengths = lengths

    def forward(self, waveforms: Tensor) -> Tensor:
        """Turn (B, num_samples) into frames (B, F, T)."""
        clips = [
            self.front_end(waveform[None, :length])[0].T
            for waveform, length in zip(waveforms, self.lengths, strict=True)
        ]
        return pad_sequence(clips, batch_first=True).transpose(1, 2)
