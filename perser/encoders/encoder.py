"""Speech encoders through transformers: a frozen front-end, a trunk that may adapt, every hidden state.

    encoder = SpeechEncoder.from_name("facebook/hubert-base-ls960")
    frames, mask = pad(encoder.frontend(waveforms))
    states = encoder.hidden_states(frames, mask)      # num_layers + 1 tensors (B, T, D)

Shapes: B utterances, T frames of 20 ms, F front-end channels, D hidden channels, L layers.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from perser.audio import SAMPLE_RATE, resample_from_16_khz
from perser.encoders.families import WavLMFamily
from perser.encoders.family import Family
from perser.encoders.loading import load_encoder, quiet_transformers
from perser.encoders.lora import (
    LAYER,
    adapted_layers,
    adapter_shape,
    base_name,
    base_state,
    inject,
    is_adapter,
    merge,
)
from perser.encoders.structure_copy import structure_copy
from perser.encoders.weight_norm import use_exact_weight_norm
from perser.io.checksums import tensors_sha256

Attention = Literal["eager", "sdpa"]


class SpeechEncoder(nn.Module):
    """wav2vec 2.0, HuBERT, WavLM, UniSpeech-SAT, data2vec-audio, SEW, w2v-BERT 2.0, AST or Whisper's encoder,
    behind one interface.

    The output for an utterance does not depend on the other utterances of its batch. There is no dropout,
    layer drop or masking, and the transformers model stays in evaluation mode even in training. A `mask` of
    None means that no frame is padding (equal lengths). Values at padded frames have no meaning.
    """

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        extractor: SequenceFeatureExtractor,
        family: Family,
        attention: Attention = "eager",
    ) -> None:
        super().__init__()
        self.name = name
        self.model = model.eval()
        self.num_layers: int = model.config.num_hidden_layers
        self.hidden_size: int = model.config.hidden_size
        self.num_heads: int = model.config.num_attention_heads
        self.front_size: int = family.front_size(model.config)
        self.frame_count = family.frame_count(model.config, extractor)
        """Returns the number of frames for a number of samples."""
        self._extractor = extractor
        self._family = family
        use_exact_weight_norm(model)
        for module in family.front_modules(model):
            module.requires_grad_(False)
        for parameter in family.unused_parameters(model):
            parameter.requires_grad_(False)
        # What transformers keeps fixed (Whisper's sinusoids) is not part of the trunk either.
        self._trunk_names = {key for key, value in model.named_parameters() if value.requires_grad}
        self.set_attention(attention)

    @classmethod
    def from_name(
        cls, name: str, *, seed: int = 0, attention: Attention = "eager", commit: str | None = None
    ) -> Self:
        """Load an encoder by name, in float32.

        Args:
            name: A local transformers folder, a model on the Hugging Face Hub, or a built-in one, such as
                `tiny-wav2vec2` (`perser.encoders.loading.TINY_NAMES`). A Whisper folder may hold the encoder
                alone or all of Whisper.
            seed: Of the random weights of built-in encoders.
            attention: See `set_attention`.
            commit: The version of a model on the Hub; the newest if None.

        Raises UserError if the name is not that of a supported encoder.
        """
        model, extractor, family = load_encoder(name, seed, commit)
        return cls(name, model, extractor, family, attention)

    def save_pretrained(self, folder: Path) -> None:
        """Write the encoder, without adapters, in transformers' layout; `from_name(str(folder))` loads it."""
        with quiet_transformers():
            self.model.save_pretrained(folder, state_dict=base_state(self.model))
            self._extractor.save_pretrained(folder)

    def set_attention(self, attention: Attention) -> None:
        """Choose how attention is computed. Both ways give the same result.

        `eager` can be differentiated twice, as second-order adaptation needs. `sdpa` can be differentiated
        once, and is faster and needs less memory, mostly for long utterances. WavLM always computes its own,
        explicitly.
        """
        self.attention: Attention = attention
        if not isinstance(self._family, WavLMFamily):
            self.model.set_attn_implementation(attention)

    def set_attention_of_copies(self, attention: Attention, shared: Collection[int]) -> None:
        """Choose the attention of this copy (see `structure_copy`) alone.

        `shared`: the ids of modules that are no copies and stay as they are.
        """
        if self.attention == attention:
            return
        self.attention = attention
        if isinstance(self._family, WavLMFamily):
            return
        before = self.model.config
        config = copy(before)
        config._attn_implementation = attention
        for module in self.model.modules():
            if id(module) not in shared and getattr(module, "config", None) is before:
                module.config = config

    def set_adapters(self, rank: int | None, start: int = 0, seed: int = 0) -> None:
        """Add LoRA adapters to the attention projections of layers `start` and above; rank None removes them.

        Adapters of the same rank on the same layers are kept. Other adapters are merged into the weights
        first. New adapters do not change the outputs (see `perser.encoders.lora`).
        """
        if adapter_shape(self.model) == (None if rank is None else (rank, start)):
            return
        merge(self.model)
        if rank is not None:
            inject(self.model, rank, range(start, self.num_layers), seed)

    def adapter_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the adapters, in the model's order; none without adapters."""
        return [parameter for name, parameter in self.model.named_parameters() if is_adapter(name)]

    def without_adapters(self) -> SpeechEncoder:
        """Return this encoder as if it had no adapters. It shares all weights; this one is not changed."""
        adapted = adapted_layers(self.model)
        if not adapted:
            return self
        encoder = structure_copy(self, [f"model.{path}" for path in adapted])
        for path, layer in adapted.items():
            parent, _, child = path.rpartition(".")
            encoder.model.get_submodule(parent)._modules[child] = layer.get_base_layer()
        return encoder

    def train(self, mode: bool = True) -> Self:
        """Set the training mode of this module, but keep the transformers model in evaluation mode."""
        super().train(mode)
        self.model.eval()
        return self

    @torch.no_grad()
    def frontend(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Run the frozen front-end: waveforms (num_samples,) at 16 kHz to frames (num_frames, F).

        The frames are on the encoder's device. Each clip is encoded alone and without padding, because the
        base models have a group norm over time, which padding would change. A clip too short for one frame
        (25 ms) is padded with silence.
        """
        rate = self._extractor.sampling_rate
        resampled = (resample_from_16_khz(waveform, rate) for waveform in waveforms)
        return [self._family.front_end(self.model, self._extractor, waveform) for waveform in resampled]

    def embed(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """Return the input of layer 0, (B, T, D), for frames (B, T, F) with their mask (B, T)."""
        return self._family.embed(self.model, frames, mask)

    def run_layers(
        self, hidden: Tensor, mask: Tensor | None, start: int = 0, stop: int | None = None
    ) -> list[Tensor]:
        """Run layers start .. stop - 1 (to the end if None) on the input (B, T, D) of layer `start`.

        Returns the hidden state after each layer. The state after the last layer is the model's output, with
        the final norm if the model has one (Whisper, and the large models' "stable layer norm").
        """
        stop = self.num_layers if stop is None else stop
        return self._family.run_layers(self.model, hidden, mask, start, stop)

    def hidden_states(self, frames: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Return the input of layer 0 and the hidden state after every layer: L + 1 tensors (B, T, D)."""
        embedded = self.embed(frames, mask)
        return [embedded, *self.run_layers(embedded, mask)]

    def pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Return what stands for each clip of a hidden state, (B, T, D) to (B, D): the mean over time.

        For AST, whose first two frames stand for a clip, it is their mean.
        """
        return self._family.pool(self.model.config, hidden, mask)

    def forward(self, frames: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Return `hidden_states`. Wrappers need this name."""
        return self.hidden_states(frames, mask)

    def trunk_parameters(self, start: int | None = None) -> list[nn.Parameter]:
        """Return what may adapt, in the model's order: all but front-end, fixed positions and adapters.

        With `start`, only those that `run_layers(..., start)` reads and no lower layer reads.
        """
        named = ((base_name(name), parameter) for name, parameter in self.model.named_parameters())
        trunk = {name: parameter for name, parameter in named if name in self._trunk_names}
        if start is None:
            return list(trunk.values())
        read = self._read_by_layers_from(start)
        lower = [name for name in trunk if (layer := LAYER.search(name)) and int(layer[1]) < start]
        return [parameter for name, parameter in trunk.items() if id(parameter) in read and name not in lower]

    def _read_by_layers_from(self, start: int) -> set[int]:
        """Return the ids of the parameters that layers `start` and above read.

        They are found by computing a gradient, because families have their norms and position biases in
        different places.
        """
        frozen = [parameter for parameter in self.model.parameters() if not parameter.requires_grad]
        if start == self.num_layers:
            return set()
        for parameter in frozen:
            parameter.requires_grad_(True)
        try:
            with torch.enable_grad():
                probe = torch.ones(1, 4, self.hidden_size, device=next(self.model.parameters()).device)
                output = self.run_layers(probe, None, start)[-1]
                everything = list(self.model.parameters())
                gradients = torch.autograd.grad(output.square().sum(), everything, allow_unused=True)
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)
        pairs = zip(everything, gradients, strict=True)
        return {id(parameter) for parameter, gradient in pairs if gradient is not None}

    def fingerprint(self, part: Literal["frontend", "all"] | int) -> str:
        """Return the sha256 of the weights and settings that an output depends on, without adapters.

        `part` says which output: that of the front-end, all, or (a number n) hidden states 0 to n.
        """
        family, config = self._family, self.model.config
        settings = {name: getattr(self._extractor, name) for name in family.extractor_fields}
        if self._extractor.sampling_rate != SAMPLE_RATE:  # so that other digests stay what they were
            settings["sampling_rate"] = self._extractor.sampling_rate
        fields = family.front_fields if part == "frontend" else family.front_fields + family.trunk_fields
        settings |= {name: getattr(config, name, None) for name in fields}
        if part != "frontend" and family.plain_last(config):
            settings["plain_last_state"] = True
        state = base_state(self.model)
        if part == "frontend":
            modules = family.front_modules(self.model)
            front = {id(parameter) for module in modules for parameter in module.parameters()}
            state = {name: value for name, value in state.items() if id(value) in front}
        elif part != "all":
            above = {id(parameter) for parameter in self.trunk_parameters(start=part)}
            state = {name: value for name, value in state.items() if id(value) not in above}
        return tensors_sha256(json.dumps([config.model_type, settings], sort_keys=True), state)


@contextmanager
def use_attention(module: nn.Module, attention: Attention) -> Iterator[None]:
    """Make every speech encoder in `module` compute attention this way, within the block.

    For a training, which has the module for itself. What is computed within the block may be differentiated
    after it. See `SpeechEncoder.set_attention`.
    """
    encoders = [submodule for submodule in module.modules() if isinstance(submodule, SpeechEncoder)]
    switched = [(encoder, encoder.attention) for encoder in encoders if encoder.attention != attention]
    for encoder, _ in switched:
        encoder.set_attention(attention)
    try:
        yield
    finally:
        for encoder, before in switched:
            encoder.set_attention(before)


def pad(frames: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pad frames (T_i, F) to a batch (B, T, F), and return it with its mask (B, T), True on real frames."""
    batch = pad_sequence(list(frames), batch_first=True)
    lengths = torch.tensor([len(clip) for clip in frames], device=batch.device)
    return batch, torch.arange(batch.shape[1], device=batch.device) < lengths[:, None]


def window_means(frames: Tensor, size: int) -> Tensor:
    """Return the means (ceil(T / size), ...) over windows of `size` frames of (T, ...).

    The last window may be shorter.
    """
    if size == 1:
        return frames
    return torch.stack([window.mean(dim=0) for window in frames.split(size)])
