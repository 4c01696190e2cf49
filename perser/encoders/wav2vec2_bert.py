"""w2v-BERT 2.0 (Communication et al. 2023): a Conformer on a log-mel spectrogram."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import (
    PretrainedConfig,
    PreTrainedModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
)
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from perser.encoders.family import Family, FrameCount, additive_mask, at_least, zero_padding

WINDOW, HOP = 400, 160
"""Samples of a window of the spectrogram, and from one to the next, as the feature extractor has them."""


class Wav2Vec2BertFamily(Family):
    """w2v-BERT 2.0. The front-end is the spectrogram alone, so that all weights belong to the trunk.

    Of an odd number of windows, the last one makes no frame: the feature extractor masks it.
    """

    config_class = Wav2Vec2BertConfig
    model_class = Wav2Vec2BertModel
    extractor_class = SeamlessM4TFeatureExtractor
    tiny_config: ClassVar[dict[str, Any]] = {
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "conv_depthwise_kernel_size": 7,
        "vocab_size": 32,
    }
    extractor_fields = ("feature_size", "num_mel_bins", "stride")
    front_fields = ()
    trunk_fields = (
        "num_attention_heads",
        "hidden_act",
        "layer_norm_eps",
        "conv_depthwise_kernel_size",
        "position_embeddings_type",
        "left_max_position_embeddings",
        "right_max_position_embeddings",
        "rotary_embedding_base",
    )

    def front_modules(self, model: PreTrainedModel) -> list[nn.Module]:
        return []

    def front_size(self, config: PretrainedConfig) -> int:
        return config.feature_projection_input_dim

    def front_end(
        self, model: PreTrainedModel, extractor: SequenceFeatureExtractor, waveform: Tensor
    ) -> Tensor:
        features = extractor(
            at_least(waveform, _least(extractor)).float().cpu().numpy(),
            sampling_rate=extractor.sampling_rate,
            return_tensors="pt",
            return_attention_mask=True,
        )
        frames = features.input_features[0][features.attention_mask[0].bool()]
        return frames.to(model.device, model.dtype)

    def frame_count(self, config: PretrainedConfig, extractor: SequenceFeatureExtractor) -> FrameCount:
        convolutions = ((WINDOW, HOP), (extractor.stride, extractor.stride))
        return FrameCount(convolutions, least=_least(extractor), rate=extractor.sampling_rate)

    def embed(self, model: PreTrainedModel, frames: Tensor, mask: Tensor | None) -> Tensor:
        hidden, _ = model.feature_projection(frames)
        return zero_padding(hidden, mask)

    def run_layers(
        self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None, start: int, stop: int
    ) -> list[Tensor]:
        positions = model.encoder.embed_positions
        options = {
            "attention_mask": additive_mask(hidden, mask),
            "relative_position_embeddings": None if positions is None else positions(hidden),
            "conv_attention_mask": mask,
        }
        states = []
        for layer in list(model.encoder.layers)[start:stop]:
            hidden = layer(hidden, **options)
            states.append(hidden)
        return states


def _least(extractor: SequenceFeatureExtractor) -> int:
    """Return how many samples the windows of one frame take."""
    return WINDOW + (extractor.stride - 1) * HOP
