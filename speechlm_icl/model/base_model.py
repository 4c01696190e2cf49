"""Load the base model of an adapter: a causal language model from a folder, the Hub or a GGUF file.

`check_base` raises what `load_base` would raise, without loading weights, so a training can check its model
before anything slow runs.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    DynamicCache,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.cache_utils import LinearAttentionCacheLayerMixin
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.pytorch_utils import Conv1D

from perser.device import is_gpu, loading_device
from perser.encoders.loading import explain_loading, quiet_transformers, refuse_missing
from perser.errors import UserError, require_package
from perser.io.hub import ModelSource, find_model, out_of_reach, refuse_pickles

TINY_LLAMA = "tiny-llama"
"""Name of the small language model that is built from its config. Every other name is a base model's."""

KIND = "language model"

GGUF = ".gguf"

CACHE_TOLERANCES: dict[torch.dtype | None, float] = {torch.float32: 1e-3}
OTHER_CACHE_TOLERANCE = 0.1
"""How far, in relation to their length, hidden states may be from those read in one part, by the number
format of the weights. In bfloat16 and with quantized weights, rounding comes to some hundredths."""

BaseWeights = Literal["float32", "bfloat16", "8bit", "4bit"]
"""Number format of the frozen weights. 8bit and 4bit (NF4, as in QLoRA) need bitsandbytes."""


@dataclass(frozen=True)
class BaseFiles:
    """Where transformers loads a base model from: a folder, a Hub repository, or a GGUF file in a folder."""

    name: str
    source: ModelSource
    gguf_file: str | None = None
    commit: str | None = None

    def load(self, auto: type[Any], **options: Any) -> Any:
        """Call `from_pretrained` of an Auto class, without running code that comes with the model.

        Raises UserError, in one line, where it fails.
        """
        options |= {} if self.gguf_file is None else {"gguf_file": self.gguf_file}
        options |= {} if self.commit is None else {"revision": self.commit}
        try:
            with quiet_transformers(progress=not self.source.is_folder):
                return auto.from_pretrained(
                    self.source.path,
                    local_files_only=self.source.offline,
                    trust_remote_code=False,
                    **options,
                )
        except Exception as error:  # a damaged folder can make the libraries raise any exception
            if self.source.offline and not self.source.is_folder:
                raise out_of_reach(self.name, KIND, TINY_LLAMA) from error
            with explain_loading(KIND, self.name):
                raise


def find_base(name: str, commit: str | None = None) -> BaseFiles:
    """Return the files of a base model.

    Raises UserError for a name that is neither a model folder, nor a GGUF file, nor on the Hub.
    """
    if not name.endswith(GGUF):
        return BaseFiles(name, find_model(name, KIND, TINY_LLAMA), commit=commit)
    file = Path(name).expanduser()
    if not file.is_file():
        raise UserError(f"no {KIND} '{name}': the file does not exist")
    require_package("gguf", "gguf", f"the {KIND} '{name}'")
    return BaseFiles(name, ModelSource(str(file.parent), offline=True), file.name)


def base_config(files: BaseFiles) -> PretrainedConfig:
    """Return the config of a base model.

    Raises UserError where it is not a causal language model with a key/value cache, or has no weights.
    """
    config = files.load(AutoConfig)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder:
        raise UserError(f"'{files.name}' is a model of type '{config.model_type}', not a causal {KIND}")
    _check_attention_only(config, files.name)
    if files.source.is_folder and files.gguf_file is None:
        refuse_pickles(Path(files.source.path), KIND)
    return config


def base_tokenizer(files: BaseFiles) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a base model."""
    return files.load(AutoTokenizer)


def check_base(name: str, weights: BaseWeights, targets: Sequence[str]) -> None:
    """Raise UserError where `load_base` or an adapter on these targets would. Loads no weights."""
    files = find_base(name)
    config = base_config(files)
    check_quantized(name, weights)
    with explain_loading(KIND, name), torch.device("meta"):  # a config may ask for flash-attention
        model = AutoModelForCausalLM.from_config(config)
    if "past_key_values" not in signature(model.get_decoder().forward).parameters:
        raise _ignores_cache(name, config)
    check_targets(model, name, targets)


def load_base(
    name: str, weights: BaseWeights, commit: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the frozen model and its tokenizer. `commit` is the Hub commit to load.

    The model is on the CPU. If its weights are quantized, it is where `perser.device.loading_on` says:
    bitsandbytes quantizes them there, and slowly on a CPU.
    """
    files = find_base(name, commit)
    base_config(files)
    check_quantized(name, weights)
    safe = {} if files.gguf_file else {"use_safetensors": True}
    model, report = files.load(
        AutoModelForCausalLM, **number_format(weights), **safe, output_loading_info=True
    )
    refuse_missing(name, report, "use a complete copy")
    if files.gguf_file is not None:
        _clear_quantization_flags(model)
    disable_cpu_repacking(model)
    keep_positions_private(model)
    model.requires_grad_(False)
    _check_cache(model, name)
    _check_head(model, name)
    return model, base_tokenizer(files)


def check_targets(model: nn.Module, name: str, targets: Sequence[str]) -> None:
    """Raise UserError for an adapter target that matches no linear layer.

    peft silently ignores such a target where another one matches.
    """
    linear = {path for path, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D))}
    for target in targets:
        if not any(path == target or path.endswith(f".{target}") for path in linear):
            known = sorted({path.rpartition(".")[2] for path in linear} - {"lm_head"})
            raise UserError(
                f"lora.targets: {KIND} '{name}' has no linear layer '{target}': it has {', '.join(known)}"
            )


def context_length(config: PretrainedConfig) -> int | None:
    """Return how many positions the model was made for, or None where it has no limit."""
    return getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)


def number_format(weights: BaseWeights, unquantized: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the options of `from_pretrained` for this number format.

    `unquantized` names layers that stay as they are; None: those that transformers leaves out.
    """
    if weights in ("float32", "bfloat16"):
        return {"dtype": getattr(torch, weights)}
    device = loading_device()
    quantized = BitsAndBytesConfig(
        load_in_8bit=weights == "8bit",
        load_in_4bit=weights == "4bit",
        llm_int8_skip_modules=None if unquantized is None else list(unquantized),
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if is_gpu(device) else torch.float32,
    )
    device_map = str(device) if is_gpu(device) else {"": "cpu"}
    return {"quantization_config": quantized, "dtype": torch.float32, "device_map": device_map}


def check_quantized(name: str, weights: BaseWeights) -> None:
    """Raise UserError where quantized weights are wanted, but bitsandbytes is missing or the file is GGUF."""
    if weights in ("8bit", "4bit"):
        require_package("bitsandbytes", "quantized", f"lora.base_weights: {weights}")
        if name.endswith(GGUF):
            raise UserError(
                f"lora.base_weights: {weights} is not supported for a GGUF file: set it to float32"
            )


def disable_cpu_repacking(model: PreTrainedModel) -> None:
    """Stop bitsandbytes from repacking 4-bit weights.

    On some CPUs it repacks them at the first pass without gradients. From then on, silently, no gradient
    flows through them: the first validation would stop the model from learning.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def keep_positions_private(model: PreTrainedModel) -> None:
    """Stop position embeddings from changing the model while it answers.

    Those of some models (Phi-3's long context, dynamic scaling) have other frequencies for long prompts than
    for short ones, and transformers writes them into the module at each pass. A prompt that another thread
    reads meanwhile, or that comes later, would get the wrong ones.
    """
    for module in model.modules():
        kind = getattr(module, "rope_type", None)
        kinds = kind.values() if isinstance(kind, dict) else [kind]
        if any(name == "longrope" or "dynamic" in (name or "") for name in kinds):
            # A class has a hash, but mypy takes that of its instances for it.
            module.__class__ = _private_positions(type(module))  # type: ignore[arg-type]


@cache
def _private_positions(positions: type[nn.Module]) -> type[nn.Module]:
    """Return a class of position embeddings that computes each pass on a copy of itself."""

    class PrivatePositions(positions):  # type: ignore[misc, valid-type]  # known when a model is loaded
        def forward(self, *inputs: Any, **options: Any) -> Any:
            own = copy.copy(self)
            own._buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}
            return positions.forward(own, *inputs, **options)

    return PrivatePositions


def _clear_quantization_flags(model: PreTrainedModel) -> None:
    """Mark a model as not quantized.

    The weights of a GGUF file are plain numbers once loaded, but transformers still marks the model as
    quantized and then refuses to save it.
    """
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def _check_attention_only(config: PretrainedConfig, name: str) -> None:
    """Raise UserError for a model with recurrent layers (Mamba, linear attention).

    Their running state cannot serve as a prefix cache: several positions read after it are treated as if it
    were empty, and it cannot be repeated for a batch.
    """
    layers = DynamicCache(config=config).layers
    if any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers):
        raise UserError(
            f"{KIND} '{name}' has recurrent layers (model type '{config.model_type}'), which cannot cache an "
            "enrollment for several queries: use a model that has only attention layers"
        )


def _ignores_cache(name: str, config: PretrainedConfig) -> UserError:
    return UserError(
        f"{KIND} '{name}' (model type '{config.model_type}') does not read on from a key/value cache, which "
        "an enrollment needs: use another one"
    )


@torch.no_grad()
def _check_cache(model: PreTrainedModel, name: str) -> None:
    """Raise UserError for a model that does not give the same when it reads a prompt in two parts.

    Such a model ignores the cache, or each position also reads those after it.
    """
    decoder, vocabulary, length, first = model.get_decoder(), model.get_input_embeddings(), 8, 4
    places = torch.arange(length, device=model.device)[None]
    embeddings = vocabulary(places % vocabulary.num_embeddings)
    mask, cache = torch.ones_like(places), DynamicCache(config=model.config)
    parts = ((slice(0, first), first), (slice(first, length), length))
    try:
        whole = decoder(inputs_embeds=embeddings, attention_mask=mask, position_ids=places).last_hidden_state
        for part, seen in parts:
            last = decoder(
                inputs_embeds=embeddings[:, part],
                attention_mask=mask[:, :seen],
                position_ids=places[:, part],
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
    except Exception as error:  # a model that takes no cache may fail in any way
        raise _ignores_cache(name, model.config) from error
    difference = (last - whole[:, first:]).float().norm() / whole[:, first:].float().norm()
    number_format = None if getattr(model, "is_quantized", False) else model.dtype
    if not difference < CACHE_TOLERANCES.get(number_format, OTHER_CACHE_TOLERANCE):
        raise _ignores_cache(name, model.config)


@torch.no_grad()
def _check_head(model: PreTrainedModel, name: str) -> None:
    """Raise UserError for a model that changes its logits after the head (soft-capped or scaled logits).

    `LanguageModel` calls decoder and head separately, so the probabilities of such a model would be silently
    wrong.
    """
    vocabulary = model.get_input_embeddings().num_embeddings
    # Several tokens, because all logits of a padding token may be 0.
    token_ids = torch.arange(min(8, vocabulary), device=model.device)[None]
    expected = model(input_ids=token_ids).logits
    separate = model.get_output_embeddings()(model.get_decoder()(input_ids=token_ids).last_hidden_state)
    if not torch.allclose(expected, separate, rtol=1e-3, atol=1e-3):
        raise UserError(
            f"language model '{name}' changes its logits after the head, which is not supported: "
            "use another one"
        )
