"""Tiny untrained models of both routes, and clips of noise for them: everything is made on the spot."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.speed.corpus_size import EMOTIONS as NAMES
from benchmarks.speed.maml.noise import noise_clips
from meta_perser.adaptation.lslr import make_rates
from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.options import LslrOptions
from meta_perser.recognizer.model import EmotionRecognizer
from perser.encoders.encoder import SpeechEncoder
from perser.labels import EmotionSet
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.model.speech_lm import new_model
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptOptions

EMOTIONS = EmotionSet(NAMES)

SAMPLES = 8_000
"""Half a second at 16 kHz."""

RATE, STEPS = 0.05, 4


def clips(count: int) -> list[Tensor]:
    """Return short waveforms (num_samples,) at 16 kHz, of different lengths."""
    return [waveform[: SAMPLES + 800 * number] for number, waveform in enumerate(noise_clips(count))]


def save_meta_perser(folder: Path) -> None:
    """Write a recognizer with random weights, all of whose trunk adapts."""
    torch.manual_seed(0)
    model = EmotionRecognizer(SpeechEncoder.from_name("tiny-wav2vec2"), EMOTIONS, "all", 16)
    lslr = LslrOptions()
    rates = make_rates(list(model.trainable_parameters()), STEPS, RATE, lslr)
    weights = torch.ones(len(EMOTIONS))
    MetaPerSER(model, rates, lslr, STEPS, STEPS, weights, 0.0).save_pretrained(folder)


def save_speech_lm(folder: Path) -> None:
    """Write a speech LM with random weights."""
    torch.manual_seed(0)
    encoder = SpeechEncoder.from_name("tiny-whisper")
    new_model(
        EMOTIONS,
        encoder="tiny-whisper",
        feature_shape=(encoder.num_layers + 1, encoder.hidden_size),
        language_model="tiny-llama",
        lora=LoraOptions(),
        prompt=PromptOptions(),
        projector=ProjectorOptions(width=16),
    ).eval().save_pretrained(folder)
