"""What a kind of speech encoder has to say and do, and what several kinds share.

A `Family` runs the front-end, the trunk's entrance and the layers of one kind of encoder, and computes from
the number of samples how many frames the front-end gives. It holds no weights: every method gets the
transformers model. `mask` is True on real frames; None means that no frame of the batch is padding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, Wav2Vec2FeatureExtractor
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from perser.audio import SAMPLE_RATE


@dataclass(frozen=True)
class FrameCount:
    """The number of frames of a clip, for a front-end that is a chain of strided convolutions.

    Args:
        convolutions: (kernel, stride) of each, in samples of its input; padding counts as part of the kernel.
        least: A shorter clip is padded with silence to this many samples.
        window: A longer clip is cut into windows of this many samples; None for no windows.
        most: Of a longer clip, only this many samples count; None for no limit.
        rate: Samples per second of all these, to which a clip is resampled.
    """

    convolutions: tuple[tuple[int, int], ...]
    least: int
    window: int | None = None
    most: int | None = None
    rate: int = SAMPLE_RATE

    def __call__(self, num_samples: int) -> int:
        """Return the number of frames of a clip of `num_samples` at 16 kHz."""
        num_samples = -(-num_samples * self.rate // SAMPLE_RATE)
        if self.most is not None:
            num_samples = min(num_samples, self.most)
        if self.window is None or num_samples <= self.window:
            return self._in_window(num_samples)
        windows, rest = divmod(num_samples, self.window)
        return windows * self._in_window(self.window) + (self._in_window(rest) if rest else 0)

    def _in_window(self, num_samples: int) -> int:
        length = max(num_samples, self.least)
        for kernel, stride in self.convolutions:
            length = (length - kernel) // stride + 1
        return length


class Family(ABC):
    """One kind of encoder: its transformers classes, a tiny configuration, and how to run it."""

    config_class: ClassVar[type[PretrainedConfig]]
    model_class: ClassVar[type[PreTrainedModel]]
    extractor_class: ClassVar[type[SequenceFeatureExtractor]]
    tiny_config: ClassVar[dict[str, Any]]
    """A configuration small enough for a quick start on a CPU."""
    extractor_fields: ClassVar[tuple[str, ...]]
    front_fields: ClassVar[tuple[str, ...]]
    trunk_fields: ClassVar[tuple[str, ...]]
    """The fields of the feature extractor's and the model's configuration that change the output."""
    key_mapping: ClassVar[dict[str, str] | None] = None
    """Patterns that turn the weight names of a larger checkpoint into those of this model."""

    @abstractmethod
    def front_modules(self, model: PreTrainedModel) -> list[nn.Module]:
        """Return the modules that stay frozen: everything from the waveform to the cached frames."""

    def unused_parameters(self, model: PreTrainedModel) -> list[nn.Parameter]:
        """Return parameters that no output depends on."""
        return []

    @abstractmethod
    def front_size(self, config: PretrainedConfig) -> int:
        """Return the number of channels of a front-end frame."""

    @abstractmethod
    def front_end(
        self, model: PreTrainedModel, extractor: SequenceFeatureExtractor, waveform: Tensor
    ) -> Tensor:
        """Return the frames (num_frames, F) of one waveform (num_samples,) at the extractor's rate."""

    @abstractmethod
    def frame_count(self, config: PretrainedConfig, extractor: SequenceFeatureExtractor) -> FrameCount:
        """Return the function from a number of samples to the number of frames that `front_end` gives."""

    @abstractmethod
    def embed(self, model: PreTrainedModel, frames: Tensor, mask: Tensor | None) -> Tensor:
        """Return the input of layer 0, (B, T, D), for frames (B, T, F)."""

    @abstractmethod
    def run_layers(
        self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None, start: int, stop: int
    ) -> list[Tensor]:
        """Return the hidden states after layers start .. stop - 1, each (B, T, D)."""

    def pool(self, config: PretrainedConfig, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Return what stands for a clip of one of its hidden states, (B, T, D) to (B, D)."""
        return mean_pool(hidden, mask)

    def zero_parameters(self, model: PreTrainedModel) -> list[nn.Parameter]:
        """Return parameters that transformers starts at zero, which a built-in encoder has at random."""
        return []

    def plain_last(self, config: PretrainedConfig) -> bool:
        """Return whether the last hidden state is what the last layer gives, without a final norm.

        That is how transformers' classifiers read it in a weighted sum of all states.
        """
        return bool(getattr(config, "plain_last_state", False))

    def default_extractor(self, config: PretrainedConfig) -> SequenceFeatureExtractor:
        """Return the feature extractor of a built-in encoder."""
        return self.extractor_class()


class WaveformFamily(Family):
    """Encoders whose front-end is strided convolutions on the waveform: wav2vec 2.0 and its relatives."""

    extractor_class = Wav2Vec2FeatureExtractor
    extractor_fields = ("do_normalize",)
    front_fields = ("conv_stride", "conv_kernel", "feat_extract_norm", "feat_extract_activation")

    def front_modules(self, model: PreTrainedModel) -> list[nn.Module]:
        return [model.feature_extractor]

    def front_size(self, config: PretrainedConfig) -> int:
        return config.conv_dim[-1]

    def front_end(
        self, model: PreTrainedModel, extractor: SequenceFeatureExtractor, waveform: Tensor
    ) -> Tensor:
        waveform = at_least(waveform, receptive_field(model.config))
        values = extractor(
            waveform.float().cpu().numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt"
        ).input_values
        return model.feature_extractor(values.to(model.device, model.dtype))[0].T

    def frame_count(self, config: PretrainedConfig, extractor: SequenceFeatureExtractor) -> FrameCount:
        convolutions = tuple(zip(config.conv_kernel, config.conv_stride, strict=True))
        return FrameCount(convolutions, least=receptive_field(config), rate=extractor.sampling_rate)


def run_plain(layers: Sequence[nn.Module], hidden: Tensor, mask: Tensor | None) -> list[Tensor]:
    """Run layers that take an additive mask, and return the hidden state after each."""
    additive = additive_mask(hidden, mask)
    states = []
    for layer in layers:
        hidden = layer(hidden, attention_mask=additive)
        states.append(hidden)
    return states


def additive_mask(hidden: Tensor, mask: Tensor | None) -> Tensor | None:
    """Return a mask (B, T) in the form that is added to attention scores, (B, 1, 1, T)."""
    if mask is None:
        return None
    lowest = torch.finfo(hidden.dtype).min
    return torch.zeros_like(mask, dtype=hidden.dtype).masked_fill(~mask, lowest)[:, None, None, :]


def zero_padding(hidden: Tensor, mask: Tensor | None) -> Tensor:
    return hidden if mask is None else hidden.masked_fill(~mask.unsqueeze(-1), 0.0)


def at_least(waveform: Tensor, samples: int) -> Tensor:
    """Return the waveform, padded with silence to at least this many samples."""
    return F.pad(waveform, (0, max(0, samples - len(waveform))))


def receptive_field(config: PretrainedConfig) -> int:
    """Return how many samples the convolutions need for one frame (400 with the real kernels and strides)."""
    samples = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def mean_pool(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over each utterance's real frames: (B, T, D), (B, T) to (B, D)."""
    if mask is None:
        return hidden.mean(dim=1)
    return hidden.masked_fill(~mask.unsqueeze(-1), 0.0).sum(dim=1) / mask.sum(dim=1, keepdim=True)
