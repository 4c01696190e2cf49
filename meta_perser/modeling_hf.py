"""The recognizer as an audio classification model of transformers: waveforms in, logits out.

import meta_perser.auto
model = AutoModelForAudioClassification.from_pretrained(EXPORTED)   # of `perser export`
logits = model(input_values, attention_mask).logits
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BatchFeature, PreTrainedConfig, PreTrainedModel, Wav2Vec2FeatureExtractor
from transformers.modeling_outputs import SequenceClassifierOutput

from meta_perser.adaptation.meta_trained import RATES_FILE
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.recognizer.model import EmotionRecognizer, saved_settings
from perser.audio import SAMPLE_RATE
from perser.device import MAKING_A_MODEL, outside_compilation
from perser.errors import UserError
from perser.inference.clips import Clip, Waveforms, waveforms_of
from perser.io.hub import trained_model_folder
from perser.io.loading_options import LoadingOptions, SavingOptions, check_labels
from perser.labels import EmotionSet

_ATTENTION = (None, "eager", "sdpa")
"""Attention functions that may be asked for. Their answers are the same; each pass takes the one it needs."""


class MetaPerSERConfig(PreTrainedConfig):
    """Names the emotions (`id2label`); the recognizer's other settings are in its own file."""

    model_type = "meta-perser"


class MetaPerSERFeatureExtractor(Wav2Vec2FeatureExtractor):
    """Reads recordings in any form and pads them; the model does the encoder's own feature extraction."""

    def __call__(
        self, raw_speech: Clip | Iterable[Clip], *, sampling_rate: int = SAMPLE_RATE, **options: Any
    ) -> BatchFeature:
        """Return `input_values` and `attention_mask`, as the feature extractors of transformers do.

        Args:
            raw_speech: One recording or several, in any form that `perser.audio.load_audio` takes.
            sampling_rate: 16,000. Samples at another rate are given together with it.
            **options: Those of every feature extractor: `padding`, `return_tensors="pt"`, ...

        Raises UserError for a recording that cannot be used.
        """
        samples = [waveform.numpy() for waveform in waveforms_of(raw_speech)]
        return super().__call__(samples, sampling_rate=sampling_rate, **options)


class MetaPerSERForAudioClassification(PreTrainedModel):
    """A recognizer that is not personalized; `perser.inference.recognizer` personalizes it.

    Args:
        config: The names of the emotions.
        recognizer: The trained recognizer.
        extra: What is saved with it (`saved_settings`).
        rates: The learned rates by name; empty where it was not meta-trained.
    """

    config_class = MetaPerSERConfig
    base_model_prefix = ""
    main_input_name = "input_values"
    input_modalities = ("audio",)

    def __init__(
        self,
        config: MetaPerSERConfig,
        recognizer: EmotionRecognizer | None = None,
        extra: dict[str, Any] | None = None,
        rates: dict[str, Tensor] | None = None,
    ) -> None:
        if recognizer is None:
            raise UserError("a config alone makes no Meta-PerSER model: load a trained one (from_pretrained)")
        super().__init__(config)
        self.recognizer = recognizer
        self._extra = extra or {}
        self._rates = rates or {}
        self.post_init()

    def init_weights(self) -> None:
        """Do nothing: the recognizer is already trained."""

    @outside_compilation
    def forward(
        self, input_values: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Return logits (B, C), and the loss where labels are given.

        Args:
            input_values: Waveforms at 16 kHz (B, num_samples).
            attention_mask: (B, num_samples), 1 on real samples, 0 on padding; no padding when None.
            labels: Classes (B,), or shares of each class (B, C).

        Raises UserError for a waveform that cannot be used.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_values)
        rows = [values[mask.bool()] for values, mask in zip(input_values, attention_mask, strict=True)]
        clips = {str(row): clip for row, clip in enumerate(waveforms_of(rows, min_seconds=0.0))}
        source = ClipSource(Waveforms(clips), self.recognizer, cache=None)
        logits = self.recognizer(_in_format(source.batch(list(clips)), self.recognizer.layer_logits.dtype))
        loss = None if labels is None else F.cross_entropy(logits, labels.to(logits.device))
        return SequenceClassifierOutput(loss=loss, logits=logits)

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *, config: MetaPerSERConfig | None = None, **options: Any
    ) -> Self:
        """Load the model of an exported folder, or of the Hub, in evaluation mode.

        Args:
            name: Folder or Hub name.
            config: Replaces the folder's own.
            **options: Those of transformers (`perser.io.loading_options.LoadingOptions`); any other is a
                TypeError.

        Raises UserError where there is no such model, or an option cannot be used.
        """
        loading = LoadingOptions.of(options)
        folder = trained_model_folder(str(name), **loading.hub)
        with MAKING_A_MODEL:
            recognizer = EmotionRecognizer.from_pretrained(folder)
            rates = load_file(folder / RATES_FILE) if (folder / RATES_FILE).is_file() else {}
            config = _config(recognizer.emotions) if config is None else copy.deepcopy(config)
            check_labels(config, recognizer.emotions.names)
            # The Auto classes pass it in the config.
            attention = loading.attention or config._attn_implementation_internal
            if attention not in _ATTENTION:
                raise UserError(
                    f"attn_implementation: '{attention}' is not supported by Meta-PerSER: give eager or sdpa"
                )
            config._attn_implementation_internal = None
            model = cls(config, recognizer, saved_settings(folder), rates)
        loading.place(model)
        model.name_or_path = str(name)
        return model.eval()

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> None:
        """Write what `perser export` writes, without the model card.

        Args:
            save_directory: Folder to write.
            **options: Those of transformers (`perser.io.loading_options.SavingOptions`).

        Raises UserError for a `state_dict` that holds other weights.
        """
        saving = SavingOptions.of(self, options)
        if not saving.here:
            return
        folder = Path(save_directory)
        self.recognizer.save_pretrained(folder, **self._extra)
        if self._rates:
            save_file(self._rates, folder / RATES_FILE)
        write_transformers_files(folder, self.recognizer.emotions)
        if saving.upload:
            self.push_to_hub(saving.name or folder.name, **saving.hub)


def write_transformers_files(folder: Path, emotions: EmotionSet) -> None:
    """Write the files that the Auto classes read: config.json and preprocessor_config.json."""
    config = _config(emotions)
    config.architectures = [MetaPerSERForAudioClassification.__name__]
    config.save_pretrained(folder)
    extractor = MetaPerSERFeatureExtractor(
        sampling_rate=SAMPLE_RATE, do_normalize=False, return_attention_mask=True
    )
    extractor.save_pretrained(folder)


def _in_format(batch: ClipBatch, dtype: torch.dtype) -> ClipBatch:
    """Return a batch with its numbers in the format of a recognizer's weights."""
    buckets = tuple(replace(bucket, frames=bucket.frames.to(dtype)) for bucket in batch.buckets)
    return replace(batch, lower=batch.lower.to(dtype), buckets=buckets)


def _config(emotions: EmotionSet) -> MetaPerSERConfig:
    return MetaPerSERConfig(
        id2label=dict(enumerate(emotions.names)),
        label2id={name: number for number, name in enumerate(emotions.names)},
    )
