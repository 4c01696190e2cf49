"""AST, the Audio Spectrogram Transformer (Gong et al. 2021): patches of a log-mel spectrogram."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel, PretrainedConfig, PreTrainedModel
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from perser.encoders.family import Family, FrameCount, at_least, run_plain

TOKENS = 2
"""The class token and the distillation token, which come before the patches."""

WINDOW = 400
"""Samples of a window of the spectrogram (25 ms)."""


class SpectrogramTransformerFamily(Family):
    """AST. Its frames are the places of its two tokens and of the patches: equally many for every clip.

    A spectrogram is padded, or cut, to the `max_length` of the feature extractor (10.24 s). A clip is
    represented by the mean of the two tokens, brought to mean 0 and variance 1, as the classifier of
    transformers reads it.
    """

    config_class = ASTConfig
    model_class = ASTModel
    extractor_class = ASTFeatureExtractor
    tiny_config: ClassVar[dict[str, Any]] = {
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "max_length": 128,
        "num_mel_bins": 64,
    }
    extractor_fields = ("num_mel_bins", "max_length", "do_normalize", "mean", "std")
    front_fields = ("patch_size", "frequency_stride", "time_stride", "max_length", "num_mel_bins")
    trunk_fields = ("num_attention_heads", "hidden_act", "layer_norm_eps")

    def front_modules(self, model: PreTrainedModel) -> list[nn.Module]:
        return [model.embeddings.patch_embeddings]

    def front_size(self, config: PretrainedConfig) -> int:
        return config.hidden_size

    def default_extractor(self, config: PretrainedConfig) -> SequenceFeatureExtractor:
        return ASTFeatureExtractor(max_length=config.max_length, num_mel_bins=config.num_mel_bins)

    def zero_parameters(self, model: PreTrainedModel) -> list[nn.Parameter]:
        # The first norm would magnify the gradients of tokens of zeros a millionfold.
        embeddings = model.embeddings
        return [embeddings.cls_token, embeddings.distillation_token, embeddings.position_embeddings]

    def front_end(
        self, model: PreTrainedModel, extractor: SequenceFeatureExtractor, waveform: Tensor
    ) -> Tensor:
        values = extractor(
            at_least(waveform, WINDOW).float().cpu().numpy(),
            sampling_rate=extractor.sampling_rate,
            return_tensors="pt",
        ).input_values
        patches = model.embeddings.patch_embeddings(values.to(model.device, model.dtype))[0]
        return F.pad(patches, (0, 0, TOKENS, 0))

    def frame_count(self, config: PretrainedConfig, extractor: SequenceFeatureExtractor) -> FrameCount:
        across = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        along = (config.max_length - config.patch_size) // config.time_stride + 1
        frames = TOKENS + across * along
        return FrameCount((), least=frames, most=frames)

    def embed(self, model: PreTrainedModel, frames: Tensor, mask: Tensor | None) -> Tensor:
        embeddings, batch = model.embeddings, len(frames)
        tokens = [embeddings.cls_token, embeddings.distillation_token]
        hidden = torch.cat([*(token.expand(batch, -1, -1) for token in tokens), frames[:, TOKENS:]], dim=1)
        return hidden + embeddings.position_embeddings

    def run_layers(
        self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None, start: int, stop: int
    ) -> list[Tensor]:
        states = run_plain(list(model.layers)[start:stop], hidden, mask)
        if states and stop == len(model.layers):
            states[-1] = model.layernorm(states[-1])
        return states

    def pool(self, config: PretrainedConfig, hidden: Tensor, mask: Tensor | None) -> Tensor:
        tokens = hidden[:, :TOKENS].mean(dim=1)
        return F.layer_norm(tokens, tokens.shape[-1:], eps=config.layer_norm_eps)
