"""What differs between the speech encoders of transformers, so that `SpeechEncoder` can treat them alike.

Here are wav2vec 2.0 with its relatives and Whisper, and all families by name; see `perser.encoders.family`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    PretrainedConfig,
    PreTrainedModel,
    UniSpeechSatConfig,
    UniSpeechSatModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
)
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from perser.encoders.family import (
    Family,
    FrameCount,
    WaveformFamily,
    at_least,
    run_plain,
    zero_padding,
)
from perser.encoders.grouped_convolution import grouped_convolution
from perser.encoders.sew import SEWFamily
from perser.encoders.spectrogram_transformer import SpectrogramTransformerFamily
from perser.encoders.wav2vec2_bert import Wav2Vec2BertFamily

# transformers' own call for WavLM gives this warning for each padded batch. The result is right.
warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")


class Wav2Vec2Family(WaveformFamily):
    """wav2vec 2.0: strided convolutions on the waveform | projection, positional convolution, layers."""

    config_class = Wav2Vec2Config
    model_class = Wav2Vec2Model
    tiny_config: ClassVar[dict[str, Any]] = {
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "conv_dim": [32] * 7,  # with the real kernels and strides, so that a frame is 20 ms
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "vocab_size": 32,
    }
    trunk_fields: ClassVar[tuple[str, ...]] = (
        "num_attention_heads",
        "hidden_act",
        "layer_norm_eps",
        "do_stable_layer_norm",
        "num_conv_pos_embeddings",
        "num_conv_pos_embedding_groups",
    )

    def embed(self, model: PreTrainedModel, frames: Tensor, mask: Tensor | None) -> Tensor:
        projected = model.feature_projection(frames)
        hidden = projected[0] if isinstance(projected, tuple) else projected  # HuBERT returns a tensor
        hidden = zero_padding(hidden, mask)  # otherwise the positional convolution mixes padding in
        hidden = hidden + self._positions(model, hidden, mask)
        return hidden if self._normalizes_last(model) else model.encoder.layer_norm(hidden)

    def run_layers(
        self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None, start: int, stop: int
    ) -> list[Tensor]:
        states = self._layer_outputs(model, hidden, mask, start, stop)
        last = stop == len(model.encoder.layers) and not self.plain_last(model.config)
        if states and last and self._normalizes_last(model):
            states[-1] = model.encoder.layer_norm(states[-1])
        return states

    def unused_parameters(self, model: PreTrainedModel) -> list[nn.Parameter]:
        if self.plain_last(model.config) and self._normalizes_last(model):
            return list(model.encoder.layer_norm.parameters())
        return []

    def _layer_outputs(
        self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None, start: int, stop: int
    ) -> list[Tensor]:
        return run_plain(list(model.encoder.layers)[start:stop], hidden, mask)

    def _positions(self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None) -> Tensor:
        module = model.encoder.pos_conv_embed
        positions = module.padding(grouped_convolution(module.conv, hidden.transpose(1, 2)))
        return module.activation(positions).transpose(1, 2)

    @staticmethod
    def _normalizes_last(model: PreTrainedModel) -> bool:
        # With "stable layer norm" (the large models) the norm is at the end instead of the entrance.
        return getattr(model.config, "do_stable_layer_norm", False)


class HubertFamily(Wav2Vec2Family):
    """HuBERT: wav2vec 2.0's architecture, in some checkpoints with a batch norm before the positions."""

    config_class = HubertConfig
    model_class = HubertModel
    trunk_fields: ClassVar = (*Wav2Vec2Family.trunk_fields, "feat_proj_layer_norm", "conv_pos_batch_norm")

    def _positions(self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None) -> Tensor:
        batch_norm = model.encoder.pos_conv_embed.batch_norm
        if batch_norm is not None:
            # The batch norm shifts padding away from zero, so it is zeroed again before the convolution.
            hidden = zero_padding(batch_norm(hidden.transpose(1, 2)).transpose(1, 2), mask)
        return super()._positions(model, hidden, mask)


class WavLMFamily(Wav2Vec2Family):
    """WavLM: wav2vec 2.0's architecture with a gated relative position bias, the same in every layer.

    transformers computes WavLM's attention explicitly, whatever implementation is asked for.
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
        # Layer 0 owns the bias. It is computed here, so that a run can start at a later layer.
        bias = layers[0].attention.compute_bias(frames, frames).repeat(batch, 1, 1)
        states = []
        for layer in list(layers)[start:stop]:
            hidden, bias = layer(hidden, attention_mask=mask, position_bias=bias)
            states.append(hidden)
        return states


class UniSpeechSatFamily(Wav2Vec2Family):
    """UniSpeech-SAT: wav2vec 2.0's architecture."""

    config_class = UniSpeechSatConfig
    model_class = UniSpeechSatModel

    def unused_parameters(self, model: PreTrainedModel) -> list[nn.Parameter]:
        # What masks frames in training, which is off here.
        return [model.masked_spec_embed, *super().unused_parameters(model)]


class Data2VecFamily(Wav2Vec2Family):
    """data2vec-audio: wav2vec 2.0 with several positional convolutions instead of one."""

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
            # Each convolution writes into the padding, and the next one would read that.
            padded = grouped_convolution(layer.conv, zero_padding(positions, mask).transpose(1, 2))
            positions = layer.activation(layer.layer_norm(layer.padding(padded).transpose(1, 2)))
        return positions


class WhisperFamily(Family):
    """Whisper's encoder: log-mel spectrogram and two convolutions | sinusoids, layers, final norm.

    A clip is encoded at its own length: its log-mel is not padded to 30 s, and it uses the first T positions.
    A clip that is longer than the positions reach (30 s) is cut into windows of that length. Each window has
    its own log-mel, begins at position 0 and attends to itself only, as Whisper does with long audio.
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
    front_fields: ClassVar[tuple[str, ...]] = ()
    trunk_fields = ("encoder_attention_heads", "activation_function", "max_source_positions")
    # In WhisperModel and WhisperForConditionalGeneration the encoder is one or two levels down.
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
        # The hops of the log-mel, then the stride of the second convolution; kernels are padded.
        hop = extractor.hop_length
        window = config.max_source_positions * hop * 2
        return FrameCount(
            ((hop, hop), (1, 2)), least=extractor.n_fft, window=window, rate=extractor.sampling_rate
        )

    @staticmethod
    def _window(model: PreTrainedModel, extractor: SequenceFeatureExtractor, waveform: Tensor) -> Tensor:
        return WhisperFamily._frames(model, extractor, at_least(waveform, extractor.n_fft), "longest", False)

    @staticmethod
    def _frames(
        model: PreTrainedModel,
        extractor: SequenceFeatureExtractor,
        waveform: Tensor,
        padding: str,
        truncation: bool,
    ) -> Tensor:
        with _Float32Windows():
            mel = extractor(
                waveform.float().cpu().numpy(),
                sampling_rate=extractor.sampling_rate,
                padding=padding,  # longest: the clip's own length instead of 30 s
                truncation=truncation,
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
            states = run_plain(layers, hidden, mask)
        else:
            if mask is None:
                mask = hidden.new_ones((batch, frames), dtype=torch.bool)
            padding = -frames % window
            hidden = F.pad(hidden, (0, 0, 0, padding)).reshape(-1, window, width)
            mask = F.pad(mask, (0, padding)).reshape(-1, window)
            states = [
                state.reshape(batch, -1, width)[:, :frames] for state in run_plain(layers, hidden, mask)
            ]
        if states and stop == len(model.layers):
            states[-1] = model.layer_norm(states[-1])
        return states


class PaddedWhisperFamily(WhisperFamily):
    """Whisper's encoder as transformers' classifiers use it: a clip is padded with silence to 30 s, which
    counts as a part of it, and what comes after 30 s is cut off.

    It is that of a configuration with `pads_clips`.
    """

    front_fields = ("pads_clips",)

    def front_end(
        self, model: PreTrainedModel, extractor: SequenceFeatureExtractor, waveform: Tensor
    ) -> Tensor:
        return self._frames(model, extractor, waveform, padding="max_length", truncation=True)

    def frame_count(self, config: PretrainedConfig, extractor: SequenceFeatureExtractor) -> FrameCount:
        samples = config.max_source_positions * extractor.hop_length * 2
        plain = super().frame_count(config, extractor)
        return replace(plain, least=samples, most=samples, window=None)


class _Float32Windows(TorchFunctionMode):
    """Makes the window of a log-mel in float32, in this thread, whatever torch's default type is.

    It is another one while some thread loads a model in bfloat16.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        forced = {"dtype": torch.float32} if func is torch.hann_window else {}
        return func(*args, **forced, **(kwargs or {}))


FAMILIES: dict[str, Family] = {
    "wav2vec2": Wav2Vec2Family(),
    "hubert": HubertFamily(),
    "wavlm": WavLMFamily(),
    "data2vec-audio": Data2VecFamily(),
    "whisper": WhisperFamily(),
    "unispeech-sat": UniSpeechSatFamily(),
    "sew": SEWFamily(),
    "wav2vec2-bert": Wav2Vec2BertFamily(),
    "audio-spectrogram-transformer": SpectrogramTransformerFamily(),
}
"""The families by `model_type` of a transformers configuration."""


def family_of(config: PretrainedConfig) -> Family:
    """Return the family of a configuration whose `model_type` is known."""
    if getattr(config, "pads_clips", False):
        return PaddedWhisperFamily()
    return FAMILIES[config.model_type]
