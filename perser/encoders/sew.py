"""SEW (Wu et al. 2021): wav2vec 2.0 whose layers run on every second frame, and which is faster for that."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    PretrainedConfig,
    PreTrainedModel,
    SEWConfig,
    SEWModel,
)

from perser.encoders.family import (
    WaveformFamily,
    mean_pool,
    run_plain,
    zero_padding,
)


class SEWFamily(WaveformFamily):
    """SEW. A hidden state has the front-end's frames: what the layers give for one of their frames stands at
    each of the frames that it was made from, and zeros at frames behind the last whole one. The last state is
    transformers' output, which has frames of its own again.
    """

    config_class = SEWConfig
    model_class = SEWModel
    tiny_config: ClassVar[dict[str, Any]] = {
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "conv_dim": [16] * 13,  # with the real kernels and strides, so that a frame is 20 ms
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "vocab_size": 32,
    }
    trunk_fields = (
        "num_attention_heads",
        "hidden_act",
        "layer_norm_eps",
        "squeeze_factor",
        "num_conv_pos_embeddings",
        "num_conv_pos_embedding_groups",
    )

    def embed(self, model: PreTrainedModel, frames: Tensor, mask: Tensor | None) -> Tensor:
        hidden = model.layer_norm(frames)
        if model.project_features:
            hidden = model.feature_projection(hidden)
        hidden = zero_padding(hidden, mask).transpose(1, 2)
        encoder = model.encoder
        squeezed, positions = encoder.pool(hidden), encoder.pos_conv_embed(hidden)
        count = min(squeezed.shape[-1], positions.shape[-1])
        summed = (squeezed[..., :count] + positions[..., :count]).transpose(1, 2)
        whole = self._whole(mask, model.config.squeeze_factor)
        return self._at_every_frame(model, encoder.layer_norm(summed), whole, frames.shape[1])

    def run_layers(
        self, model: PreTrainedModel, hidden: Tensor, mask: Tensor | None, start: int, stop: int
    ) -> list[Tensor]:
        factor, frames = model.config.squeeze_factor, hidden.shape[1]
        count = frames // factor
        squeezed = hidden[:, : count * factor : factor]
        whole = self._whole(mask, factor)
        layers = list(model.encoder.layers)[start:stop]
        outputs = run_plain(layers, squeezed, whole)
        states = [self._at_every_frame(model, output, whole, frames) for output in outputs]
        if states and stop == len(model.encoder.layers) and not self.plain_last(model.config):
            upsampled = model.encoder.upsample(outputs[-1])
            if whole is not None:
                upsampled = zero_padding(upsampled, whole.repeat_interleave(factor, dim=1))
            states[-1] = F.pad(upsampled, (0, 0, 0, frames - upsampled.shape[1]))
        return states

    def pool(self, config: PretrainedConfig, hidden: Tensor, mask: Tensor | None) -> Tensor:
        if not self.plain_last(config):
            return super().pool(config, hidden, mask)
        factor = config.squeeze_factor  # the mean over the layers' frames, as transformers takes it then
        return mean_pool(hidden[:, factor - 1 :: factor], self._whole(mask, factor))

    def unused_parameters(self, model: PreTrainedModel) -> list[nn.Parameter]:
        return list(model.encoder.upsample.parameters()) if self.plain_last(model.config) else []

    @staticmethod
    def _whole(mask: Tensor | None, factor: int) -> Tensor | None:
        """Return the mask of the layers' frames: one is real if all frames that it was made from are."""
        return None if mask is None else mask[:, factor - 1 :: factor]

    @staticmethod
    def _at_every_frame(model: PreTrainedModel, hidden: Tensor, whole: Tensor | None, frames: int) -> Tensor:
        """Return a state of the layers' frames at all frames (B, frames, D), with zeros behind the last."""
        repeated = zero_padding(hidden, whole).repeat_interleave(model.config.squeeze_factor, dim=1)
        return F.pad(repeated, (0, 0, 0, frames - repeated.shape[1]))
