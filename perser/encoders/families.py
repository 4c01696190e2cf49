"""What differs between the speech encoders of transformers: how each one's front-end, trunk entrance and
layers are run, so that `perser.encoder` can treat them alike.

A family holds no weights: every method is given the transformers model. `mask` is True on real frames;
None says that no frame of the batch is padding.

How many frames an encoder's front-end makes of a clip, told from the number of samples alone.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    PretrainedConfig,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
)
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

# Of transformers' own call for WavLM, each time it meets padding; the result is right.
warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")

ENCODER_RATE = 16_000
"""Samples a second that every supported encoder was trained on."""


class Family(ABC):
    """One kind of encoder: its transformers classes, its tiny stand-in, and how its parts are run."""

    config_class: ClassVar[type[PretrainedConfig]]
    model_class: ClassVar[type[PreTrainedModel]]
    extractor_class: ClassVar[type[SequenceFeatureExtractor]]
    tiny_config: ClassVar[dict[str, Any]]
    """A configuration small enough for a quick start on a CPU."""
    extractor_fields: ClassVar[tuple[str, ...]]
    front_fields: ClassVar[tuple[str, ...]]
    trunk_fields: ClassVar[tuple[str, ...]]
    """What in the feature extractor's and the model's configuration changes the output of equal weights."""
    key_mapping: ClassVar[dict[str, str] | None] = None
    """Patterns that turn a larger checkpoint's weight names into this model's."""

    @abstractmethod
    def front_modules(self, model: PreTrainedModel) -> list[nn.Module]:
        """The modules that stay frozen: everything from the waveform to the cached frames."""

    @abstractmethod
    def front_size(self, config: PretrainedConfig) -> int:
        """Channels of a front-end frame."""

    @abstractmethod
    def front_end(
        self, model: PreTrainedModel, extractor: SequenceFeatureExtractor, waveform: Tensor
    ) -> Tensor:
        """One waveform (num_samples,) at 16 kHz to frames (num_frames, F)."""

    @abstractmethod
    def frame_count(self, config: PretrainedConfig, extractor: SequenceFeatureExtractor) -> FrameCount:
        """How many frames `front_end` gives."""

    @abstractmethod
    def embed(self, model: PreTrainedModel, frames: Tensor, mask: Tensor | None) -> Tensor:
        """Frames (B, T, F) to the input of layer 0 (B, T, D)."""

    @abstractmethod
    def run_layers(
        self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None, start: int, stop: int
    ) -> list[Tensor]:
        """The hidden states after layers start + 1 .. stop, each (B, T, D)."""

    def default_extractor(self, config: PretrainedConfig) -> SequenceFeatureExtractor:
        """The feature extractor of an encoder that was not loaded from anywhere."""
        return self.extractor_class()


class Wav2Vec2Family(Family):
    """wav2vec 2.0: strided convolutions on the waveform | projection, positional convolution, layers."""

    config_class = Wav2Vec2Config
    model_class = Wav2Vec2Model
    extractor_class = Wav2Vec2FeatureExtractor
    tiny_config: ClassVar[dict[str, Any]] = {
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "conv_dim": [32] * 7,  # real kernels and strides, so a frame is 20 ms here too
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "vocab_size": 32,
    }
    extractor_fields = ("do_normalize",)
    front_fields = ("conv_stride", "conv_kernel", "feat_extract_norm", "feat_extract_activation")
    trunk_fields = (
        "num_attention_heads",
        "hidden_act",
        "layer_norm_eps",
        "do_stable_layer_norm",
        "num_conv_pos_embeddings",
        "num_conv_pos_embedding_groups",
    )

    def front_modules(self, model: PreTrainedModel) -> list[nn.Module]:
        return [model.feature_extractor]

    def front_size(self, config: PretrainedConfig) -> int:
        return config.conv_dim[-1]

    def front_end(
        self, model: PreTrainedModel, extractor: SequenceFeatureExtractor, waveform: Tensor
    ) -> Tensor:
        waveform = _at_least(waveform, _receptive_field(model.config))
        values = extractor(
            waveform.cpu().numpy(), sampling_rate=ENCODER_RATE, return_tensors="pt"
        ).input_values
        return model.feature_extractor(values.to(model.device, model.dtype))[0].T

    def frame_count(self, config: PretrainedConfig, extractor: SequenceFeatureExtractor) -> FrameCount:
        convolutions = tuple(zip(config.conv_kernel, config.conv_stride, strict=True))
        return FrameCount(convolutions, least=_receptive_field(config))

    def embed(self, model: PreTrainedModel, frames: Tensor, mask: Tensor | None) -> Tensor:
        projected = model.feature_projection(frames)
        hidden = projected[0] if isinstance(projected, tuple) else projected  # HuBERT gives a tensor
        hidden = _zero_padding(hidden, mask)  # else the positional convolution mixes padding in
        hidden = hidden + self._positions(model, hidden, mask)
        return hidden if self._normalizes_last(model) else model.encoder.layer_norm(hidden)

    def run_layers(
        self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None, start: int, stop: int
    ) -> list[Tensor]:
        states = self._layer_outputs(model, hidden, mask, start, stop)
        if states and stop == len(model.encoder.layers) and self._normalizes_last(model):
            states[-1] = model.encoder.layer_norm(states[-1])
        return states

    def _layer_outputs(
        self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None, start: int, stop: int
    ) -> list[Tensor]:
        return _run_plain(list(model.encoder.layers)[start:stop], hidden, mask)

    def _positions(self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None) -> Tensor:
        return model.encoder.pos_conv_embed(hidden)

    @staticmethod
    def _normalizes_last(model: PreTrainedModel) -> bool:
        # The "stable layer norm" variant (the large models) moves the norm from the entrance to the end.
        return getattr(model.config, "do_stable_layer_norm", False)


class HubertFamily(Wav2Vec2Family):
    """HuBERT: wav2vec 2.0's architecture; some checkpoints put a batch norm before the positions."""

    config_class = HubertConfig
    model_class = HubertModel
    trunk_fields = (*Wav2Vec2Family.trunk_fields, "feat_proj_layer_norm", "conv_pos_batch_norm")

    def _positions(self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None) -> Tensor:
        entrance = model.encoder.pos_conv_embed
        if entrance.batch_norm is None:
            return entrance(hidden)
        # The batch norm shifts padding away from zero before it reaches the convolution.
        normed = _zero_padding(entrance.batch_norm(hidden.transpose(1, 2)).transpose(1, 2), mask)
        positions = entrance.padding(entrance.conv(normed.transpose(1, 2)))
        return entrance.activation(positions).transpose(1, 2)


class WavLMFamily(Wav2Vec2Family):
    """WavLM: wav2vec 2.0's architecture with a gated relative position bias, the same in every layer.

    transformers computes its attention explicitly whatever implementation is asked for.
    """

    config_class = WavLMConfig
    model_class = WavLMModel
    tiny_config: ClassVar[dict[str, Any]] = {
        **Wav2Vec2Family.tiny_config,
        "num_buckets": 32,
        "max_bucket_distance": 80,
    }
    trunk_fields = (*Wav2Vec2Family.trunk_fields, "num_buckets", "max_bucket_distance")

    def _layer_outputs(
        self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None, start: int, stop: int
    ) -> list[Tensor]:
        layers = model.encoder.layers
        batch, frames, _ = hidden.shape
        # Layer 0 owns the bias; it is taken from there so that a run may start at a later layer.
        bias = layers[0].attention.compute_bias(frames, frames).repeat(batch, 1, 1)
        states = []
        for layer in list(layers)[start:stop]:
            hidden, bias = layer(hidden, attention_mask=mask, position_bias=bias)
            states.append(hidden)
        return states


class Data2VecFamily(Wav2Vec2Family):
    """data2vec-audio: as wav2vec 2.0, with a stack of positional convolutions instead of one."""

    config_class = Data2VecAudioConfig
    model_class = Data2VecAudioModel
    tiny_config: ClassVar[dict[str, Any]] = {
        **Wav2Vec2Family.tiny_config,
        "num_conv_pos_embeddings": 2,
        "conv_pos_kernel_size": 7,
    }
    trunk_fields = (*Wav2Vec2Family.trunk_fields, "conv_pos_kernel_size")

    def _positions(self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None) -> Tensor:
        positions = hidden
        for layer in model.encoder.pos_conv_embed.layers:
            # Each convolution writes into the padding, which the next one would read back.
            positions = layer(_zero_padding(positions, mask).transpose(1, 2)).transpose(1, 2)
        return positions


class WhisperFamily(Family):
    """Whisper's encoder: log-mel spectrogram and two convolutions | sinusoids, layers, final norm.

    A clip is encoded at its own length: the log-mel is the clip's alone, and it takes the first T of the
    positions. A clip longer than the positions last (30 s) is cut into windows of that length: each has
    its own log-mel, starts again at position 0 and attends to itself only, as Whisper reads long audio.
    """

    config_class = WhisperConfig
    model_class = WhisperEncoder
    extractor_class = WhisperFeatureExtractor
    tiny_config: ClassVar[dict[str, Any]] = {
        "d_model": 64,
        "encoder_layers": 3,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 128,
        "num_mel_bins": 80,
        "max_source_positions": 1500,
    }
    extractor_fields = ("feature_size", "n_fft", "hop_length")
    front_fields = ()
    trunk_fields = ("encoder_attention_heads", "activation_function", "max_source_positions")
    # WhisperModel and WhisperForConditionalGeneration keep the encoder one or two levels down.
    key_mapping: ClassVar[dict[str, str] | None] = {r"^(model\.)?encoder\.": ""}

    def front_modules(self, model: PreTrainedModel) -> list[nn.Module]:
        return [model.conv1, model.conv2]

    def front_size(self, config: PretrainedConfig) -> int:
        return config.d_model

    def default_extractor(self, config: PretrainedConfig) -> SequenceFeatureExtractor:
        return WhisperFeatureExtractor(feature_size=config.num_mel_bins)

    def front_end(
        self, model: PreTrainedModel, extractor: SequenceFeatureExtractor, waveform: Tensor
    ) -> Tensor:
        windows = waveform.split(self.frame_count(model.config, extractor).window)
        return torch.cat([self._window(model, extractor, window) for window in windows])

    def frame_count(self, config: PretrainedConfig, extractor: SequenceFeatureExtractor) -> FrameCount:
        # The log-mel's hops, then the second convolution's stride; the kernels are padded.
        hop = extractor.hop_length
        window = config.max_source_positions * hop * 2
        return FrameCount(((hop, hop), (1, 2)), least=extractor.n_fft, window=window)

    @staticmethod
    def _window(model: PreTrainedModel, extractor: SequenceFeatureExtractor, waveform: Tensor) -> Tensor:
        waveform = _at_least(waveform, extractor.n_fft)
        mel = extractor(
            waveform.cpu().numpy(),
            sampling_rate=ENCODER_RATE,
            padding="longest",  # of one clip: its own length instead of 30 s
            truncation=False,
            return_tensors="pt",
        ).input_features.to(model.device, model.dtype)
        return F.gelu(model.conv2(F.gelu(model.conv1(mel))))[0].T

    def embed(self, model: PreTrainedModel, frames: Tensor, mask: Tensor | None) -> Tensor:
        positions = torch.arange(frames.shape[1], device=frames.device) % model.config.max_source_positions
        return frames + model.embed_positions(positions)

    def run_layers(
        self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None, start: int, stop: int
    ) -> list[Tensor]:
        batch, frames, width = hidden.shape
        window = model.config.max_source_positions
        layers = list(model.layers)[start:stop]
        if frames <= window:
            states = _run_plain(layers, hidden, mask)
        else:
            if mask is None:
                mask = hidden.new_ones((batch, frames), dtype=torch.bool)
            padding = -frames % window
            hidden = F.pad(hidden, (0, 0, 0, padding)).reshape(-1, window, width)
            mask = F.pad(mask, (0, padding)).reshape(-1, window)
            states = [
                state.reshape(batch, -1, width)[:, :frames] for state in _run_plain(layers, hidden, mask)
            ]
        if states and stop == len(model.layers):
            states[-1] = model.layer_norm(states[-1])
        return states


FAMILIES: dict[str, Family] = {
    "wav2vec2": Wav2Vec2Family(),
    "hubert": HubertFamily(),
    "wavlm": WavLMFamily(),
    "data2vec-audio": Data2VecFamily(),
    "whisper": WhisperFamily(),
}
"""By the `model_type` of a transformers configuration."""


def _run_plain(layers: Sequence[nn.Module], hidden: Tensor, mask: Tensor | None) -> list[Tensor]:
    """Layers that take an additive mask; returns the hidden state after each."""
    additive = None
    if mask is not None:
        lowest = torch.finfo(hidden.dtype).min
        additive = torch.zeros_like(mask, dtype=hidden.dtype).masked_fill(~mask, lowest)[:, None, None, :]
    states = []
    for layer in layers:
        hidden = layer(hidden, attention_mask=additive)
        states.append(hidden)
    return states


def _zero_padding(hidden: Tensor, mask: Tensor | None) -> Tensor:
    return hidden if mask is None else hidden.masked_fill(~mask.unsqueeze(-1), 0.0)


def _at_least(waveform: Tensor, samples: int) -> Tensor:
    """The waveform, followed by silence if it is too short to give one frame."""
    return F.pad(waveform, (0, max(0, samples - len(waveform))))


def _receptive_field(config: PretrainedConfig) -> int:
    """Samples that the convolutions need for one frame (400 for the real strides)."""
    samples = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


@dataclass(frozen=True)
class FrameCount:
    """A front-end as a chain of strided convolutions.

    Args:
        convolutions: Their (kernel, stride), in samples of what each reads; padding belongs to the kernel.
        least: A shorter clip is followed by silence up to this many samples.
        window: Longer clips are cut into windows of this many samples, each on its own; None for no cut.
    """

    convolutions: tuple[tuple[int, int], ...]
    least: int
    window: int | None = None

    def __call__(self, num_samples: int) -> int:
        """Frames of a clip of `num_samples` at 16 kHz."""
        if self.window is None or num_samples <= self.window:
            return self._unbroken(num_samples)
        whole, rest = divmod(num_samples, self.window)
        return whole * self._unbroken(self.window) + (self._unbroken(rest) if rest else 0)

    def _unbroken(self, num_samples: int) -> int:
        length = max(num_samples, self.least)
        for kernel, stride in self.convolutions:
            length = (length - kernel) // stride + 1
        return length
