"""The recognizer as transformers' audio classification models are: waveforms in, logits out.

import meta_perser.auto
model = AutoModelForAudioClassification.from_pretrained(EXPORTED)   # of `perser export`
logits = model(input_values, attention_mask).logits
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, Wav2Vec2FeatureExtractor
from transformers.modeling_outputs import SequenceClassifierOutput

from meta_perser.adaptation.meta_trained import RATES
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer, extra_of
from perser.audio import SAMPLE_RATE
from perser.inference.clips import Waveforms
from perser.io.hub import trained_model_folder
from perser.labels import EmotionSet

_OF_HUB = {"revision", "token", "cache_dir", "local_files_only"}

# What transformers' Auto classes pass on that has no meaning here.
_OF_AUTO = {"trust_remote_code", "adapter_kwargs", "_from_auto", "force_download", "proxies", "subfolder"}


class MetaPerSERConfig(PreTrainedConfig):
    """Names the classes (`id2label`); what else the recognizer is made of stands in its own file."""

    model_type = "meta-perser"


class MetaPerSERForAudioClassification(PreTrainedModel):
    """A recognizer as it is, nobody's yet: `perser.recognizer` makes it one person's.

    Args:
        config: See `MetaPerSERConfig`.
        recognizer: The trained one.
        beside: What is saved beside it, as of `extra_of`.
        rates: The learned rates by name, where it was meta-trained.
    """

    config_class = MetaPerSERConfig
    base_model_prefix = ""
    main_input_name = "input_values"
    input_modalities = ("audio",)

    def __init__(
        self,
        config: MetaPerSERConfig,
        recognizer: EmotionRecognizer,
        beside: dict[str, Any],
        rates: dict[str, Tensor],
    ) -> None:
        super().__init__(config)
        self.recognizer = recognizer
        self._beside = beside
        self._rates = rates
        self.post_init()

    def init_weights(self) -> None:
        """The recognizer has been given its weights."""

    def forward(
        self, input_values: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Logits (B, C), and the loss where there are labels.

        Args:
            input_values: Waveforms at 16 kHz (B, num_samples).
            attention_mask: (B, num_samples), 1 on real samples; all are when None.
            labels: Classes (B,), or shares of each class (B, C).
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_values)
        clips = {
            str(row): values[mask.bool()].cpu()
            for row, (values, mask) in enumerate(zip(input_values, attention_mask, strict=True))
        }
        source = ClipSource(Waveforms(clips), self.recognizer, cache=None)
        logits = self.recognizer(source.batch(list(clips)))
        loss = None if labels is None else F.cross_entropy(logits, labels.to(logits.device))
        return SequenceClassifierOutput(loss=loss, logits=logits)

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *, config: MetaPerSERConfig | None = None, **options: Any
    ) -> Self:
        """The model of an exported folder, or of the Hub, in evaluation mode.

        Args:
            name: Folder or Hub name.
            config: Instead of the folder's own.
            **options: For the Hub, as everywhere in transformers (`revision`, `token`, `cache_dir`,
                `local_files_only`); `dtype` as saved; anything else is a TypeError.

        Raises UserError for what is no such model.
        """
        dtype = options.pop("dtype", None)
        if unknown := set(options) - _OF_HUB - _OF_AUTO:
            raise TypeError(f"from_pretrained takes no {', '.join(sorted(unknown))}")
        hub = {key: value for key, value in options.items() if key in _OF_HUB}
        folder = trained_model_folder(str(name), **hub)
        recognizer = EmotionRecognizer.from_pretrained(folder)
        rates = load_file(folder / RATES) if (folder / RATES).is_file() else {}
        config = _config(recognizer.emotions) if config is None else config
        model = cls(config, recognizer, extra_of(folder), rates)
        if dtype not in (None, "auto"):
            model = model.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype)
        model.name_or_path = str(name)
        return model.eval()

    def save_pretrained(self, save_directory: str | os.PathLike[str], **hub: Any) -> None:
        """Write all that `perser export` does, but for the model card. `hub` is what `push_to_hub`,
        transformers' own, passes on, and of no meaning here."""
        folder = Path(save_directory)
        self.recognizer.save_pretrained(folder, **self._beside)
        if self._rates:
            save_file(self._rates, folder / RATES)
        write_transformers_files(folder, self.recognizer.emotions)


def write_transformers_files(folder: Path, emotions: EmotionSet) -> None:
    """What the Auto classes look for beside a recognizer: config.json and preprocessor_config.json."""
    config = _config(emotions)
    config.architectures = [MetaPerSERForAudioClassification.__name__]
    config.save_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor(  # pads; the encoder's own extraction is the model's affair
        sampling_rate=SAMPLE_RATE, do_normalize=False, return_attention_mask=True
    )
    extractor.save_pretrained(folder)


def _config(emotions: EmotionSet) -> MetaPerSERConfig:
    return MetaPerSERConfig(
        id2label=dict(enumerate(emotions.names)),
        label2id={name: number for number, name in enumerate(emotions.names)},
    )
