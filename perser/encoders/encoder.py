"""Speech encoders through transformers: a frozen front-end, a trunk that may adapt, every hidden state.

    encoder = SpeechEncoder.from_name("facebook/hubert-base-ls960")
    frames, mask = pad(encoder.frontend(waveforms))
    states = encoder.hidden_states(frames, mask)      # num_layers + 1 tensors (B, T, D)

Shapes: B utterances, T frames of 20 ms, F front-end channels, D hidden channels, L layers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from perser.encoders.families import Family, WavLMFamily
from perser.encoders.loading import load_encoder, quiet_transformers
from perser.encoders.lora import (
    LAYER,
    adapter_shape,
    base_name,
    base_state,
    inject,
    is_adapter,
    merge,
    switched_off,
)
from perser.encoders.weight_norm import use_exact_weight_norm

Attention = Literal["eager", "sdpa"]


class SpeechEncoder(nn.Module):
    """wav2vec 2.0, HuBERT, WavLM, data2vec-audio or Whisper's encoder, behind one interface.

    What an utterance gets never depends on what it is batched with. There is no dropout, layer drop or
    masking, and the transformers model stays in evaluation mode even in training. Where `mask` is
    None, no frame is padding (equal lengths); values at padded frames mean nothing.
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
        """Frames by the number of samples."""
        self._extractor = extractor
        self._family = family
        use_exact_weight_norm(model)
        for module in family.front_modules(model):
            module.requires_grad_(False)
        # What transformers itself keeps fixed (Whisper's sinusoids) is not for the trunk to learn either.
        self._trunk_names = {key for key, value in model.named_parameters() if value.requires_grad}
        self.set_attention(attention)

    @classmethod
    def from_name(
        cls, name: str, *, seed: int = 0, attention: Attention = "eager", commit: str | None = None
    ) -> Self:
        """An encoder by name, in float32.

        name: a local transformers folder, a model on the Hugging Face Hub, or `tiny-wav2vec2`,
            `tiny-hubert`, `tiny-wavlm`, `tiny-data2vec`, `tiny-whisper`: the same classes, small and with
            random weights drawn from `seed`. A Whisper folder may hold the encoder alone or all of Whisper.
        attention: see `set_attention`.
        commit: which one of that name on the Hub; the newest when None.
        Raises UserError for a name that gives no supported encoder.
        """
        model, extractor, family = load_encoder(name, seed, commit)
        return cls(name, model, extractor, family, attention)

    def save_pretrained(self, folder: Path) -> None:
        """Writes the encoder in transformers' layout; `from_name(str(folder))` gives the same outputs.
        Adapters are left out."""
        with quiet_transformers():
            self.model.save_pretrained(folder, state_dict=base_state(self.model))
            self._extractor.save_pretrained(folder)

    def set_attention(self, attention: Attention) -> None:
        """`eager` can be differentiated twice (second-order adaptation needs it); `sdpa` is quicker and
        leaner, on long utterances above all, but only once differentiable. They agree. WavLM always computes
        its own, explicitly."""
        self.attention: Attention = attention
        if not isinstance(self._family, WavLMFamily):
            self.model.set_attn_implementation(attention)

    def set_adapters(self, rank: int | None, start: int = 0, seed: int = 0) -> None:
        """Have LoRA adapters of this rank on the attention projections of layers `start` and above, or none.
        New ones change no output (see `perser.adapters`); those that are there already, of this rank on these
        layers, stay as they are; what others learned is merged into the weights."""
        if adapter_shape(self.model) == (None if rank is None else (rank, start)):
            return
        merge(self.model)
        if rank is not None:
            inject(self.model, rank, range(start, self.num_layers), seed)

    def adapter_parameters(self) -> list[nn.Parameter]:
        """The adapters' parameters, in the model's order; empty without adapters."""
        return [one for name, one in self.model.named_parameters() if is_adapter(name)]

    def without_adapters(self) -> AbstractContextManager[None]:
        """Within it, the encoder gives what it would give if it had no adapters."""
        return switched_off(self.model)

    def train(self, mode: bool = True) -> Self:
        """As any module's, but nothing in the transformers model may act differently in training."""
        super().train(mode)
        self.model.eval()
        return self

    @torch.no_grad()
    def frontend(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """The frozen front-end: waveforms (num_samples,) at 16 kHz to frames (num_frames, F), on the
        encoder's device. Each clip is encoded alone and unpadded, because a group norm over time (in the
        base models) sees padding. A clip too short for one frame (25 ms) is followed by silence."""
        return [self._family.front_end(self.model, self._extractor, waveform) for waveform in waveforms]

    def embed(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """The trunk's entrance: frames (B, T, F), mask (B, T) to the input of layer 0, (B, T, D)."""
        return self._family.embed(self.model, frames, mask)

    def run_layers(
        self, hidden: Tensor, mask: Tensor | None, start: int = 0, stop: int | None = None
    ) -> list[Tensor]:
        """Layers start .. stop - 1 (to the end if None) on the hidden state (B, T, D) before layer `start`.

        Returns the hidden state after each. The one after the last layer is the model's output: it has the
        final norm where there is one (Whisper, and the large models' "stable layer norm").
        """
        stop = self.num_layers if stop is None else stop
        return self._family.run_layers(self.model, hidden, mask, start, stop)

    def hidden_states(self, frames: Tensor, mask: Tensor | None) -> list[Tensor]:
        """[embed] and the hidden state after every layer: L + 1 tensors (B, T, D)."""
        embedded = self.embed(frames, mask)
        return [embedded, *self.run_layers(embedded, mask)]

    def forward(self, frames: Tensor, mask: Tensor | None) -> list[Tensor]:
        """`hidden_states`, so that wrappers and torch.func.functional_call can be used."""
        return self.hidden_states(frames, mask)

    def trunk_parameters(self, start: int | None = None) -> list[nn.Parameter]:
        """Everything that may adapt: all but the front-end, fixed positions and adapters, in the model's
        order.

        With `start`, only what `run_layers(..., start)` reads and no layer below it does.
        """
        named = ((base_name(name), one) for name, one in self.model.named_parameters())
        trunk = {name: one for name, one in named if name in self._trunk_names}
        if start is None:
            return list(trunk.values())
        read = self._read_by_layers_from(start)
        lower = [name for name in trunk if (layer := LAYER.search(name)) and int(layer[1]) < start]
        return [one for name, one in trunk.items() if id(one) in read and name not in lower]

    def _read_by_layers_from(self, start: int) -> set[int]:
        """Ids of the parameters that a gradient reaches through layers `start` and above: found by asking,
        because families put their norms and position biases in different places."""
        frozen = [one for one in self.model.parameters() if not one.requires_grad]
        if start == self.num_layers:
            return set()
        for one in frozen:
            one.requires_grad_(True)
        try:
            with torch.enable_grad():
                probe = torch.ones(1, 4, self.hidden_size, device=next(self.model.parameters()).device)
                output = self.run_layers(probe, None, start)[-1]
                everything = list(self.model.parameters())
                gradients = torch.autograd.grad(output.square().sum(), everything, allow_unused=True)
        finally:
            for one in frozen:
                one.requires_grad_(False)
        pairs = zip(everything, gradients, strict=True)
        return {id(one) for one, gradient in pairs if gradient is not None}

    def fingerprint(self, part: Literal["frontend", "all"] | int) -> str:
        """sha256 over the weights and settings that the front-end's output depends on, or any output, or
        hidden states 0 to n (`part`: n). Adapters are left out."""
        family, config = self._family, self.model.config
        settings = {name: getattr(self._extractor, name) for name in family.extractor_fields}
        fields = family.front_fields if part == "frontend" else family.front_fields + family.trunk_fields
        settings |= {name: getattr(config, name, None) for name in fields}
        state = base_state(self.model)
        if part == "frontend":
            front = {id(one) for module in family.front_modules(self.model) for one in module.parameters()}
            state = {name: value for name, value in state.items() if id(value) in front}
        elif part != "all":
            above = {id(one) for one in self.trunk_parameters(start=part)}
            state = {name: value for name, value in state.items() if id(value) not in above}
        digest = hashlib.sha256(json.dumps([config.model_type, settings], sort_keys=True).encode())
        for name, value in sorted(state.items()):
            array = value.detach().cpu().contiguous()
            digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
            digest.update(array.view(-1).view(torch.uint8).numpy())
        return digest.hexdigest()


@contextmanager
def use_attention(module: nn.Module, attention: Attention) -> Iterator[None]:
    """Within it, every speech encoder in `module` computes attention this way (see
    `SpeechEncoder.set_attention`); what is computed meanwhile may be differentiated later."""
    encoders = [one for one in module.modules() if isinstance(one, SpeechEncoder)]
    switched = [(one, one.attention) for one in encoders if one.attention != attention]
    for one, _ in switched:
        one.set_attention(attention)
    try:
        yield
    finally:
        for one, before in switched:
            one.set_attention(before)


def pad(frames: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Frames (T_i, F) of several utterances as one batch (B, T, F) and its mask (B, T), True on real
    frames."""
    batch = pad_sequence(list(frames), batch_first=True)
    lengths = torch.tensor([len(clip) for clip in frames], device=batch.device)
    return batch, torch.arange(batch.shape[1], device=batch.device) < lengths[:, None]


def mean_pool(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over each utterance's own frames: (B, T, D), (B, T) to (B, D)."""
    if mask is None:
        return hidden.mean(dim=1)
    return hidden.masked_fill(~mask.unsqueeze(-1), 0.0).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def window_means(frames: Tensor, size: int) -> Tensor:
    """Means (ceil(T / size), ...) of frames (T, ...), `size` after `size`; the last of what is left."""
    if size == 1:
        return frames
    return torch.stack([window.mean(dim=0) for window in frames.split(size)])
