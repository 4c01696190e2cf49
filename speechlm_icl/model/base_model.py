"""The causal language model that an adapter is trained on: a local folder, a Hub name or a GGUF file, as it
is or quantized. Everything that can be refused is refused by `check_base`, before anything long runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

from perser.encoders.loading import quiet_transformers
from perser.errors import UserError, require_package
from perser.io.hub import ModelSource, find_model, out_of_reach, refuse_pickles

TINY_LLAMA = "tiny-llama"
"""The name of the language model that is built on the spot; every other is a base model."""

KIND = "language model"

GGUF = ".gguf"

BaseWeights = Literal["float32", "bfloat16", "8bit", "4bit"]
"""How the frozen weights are kept; 8bit and 4bit (NF4, as QLoRA has it) through bitsandbytes."""


@dataclass(frozen=True)
class BaseFiles:
    """Where transformers loads a base model from: a model source, or one GGUF file in a folder."""

    name: str
    source: ModelSource
    gguf_file: str | None = None
    commit: str | None = None

    def load(self, auto: type, **options: Any) -> Any:
        """`from_pretrained` of an Auto class, which runs no code that comes with the model. Raises UserError,
        in one line, where it fails."""
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
        except Exception as error:  # a damaged folder makes the libraries raise anything at all
            if self.source.offline and not self.source.is_folder:
                raise out_of_reach(self.name, KIND, TINY_LLAMA) from error
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"cannot load the {KIND} '{self.name}': {reason}") from error


def find_base(name: str, commit: str | None = None) -> BaseFiles:
    """Raises UserError for a name that is neither a model folder, a GGUF file nor on the Hub."""
    if not name.endswith(GGUF):
        return BaseFiles(name, find_model(name, KIND, TINY_LLAMA), commit=commit)
    file = Path(name).expanduser()
    if not file.is_file():
        raise UserError(f"no {KIND} '{name}': the file is not there")
    require_package("gguf", "gguf", f"the {KIND} '{name}'")
    return BaseFiles(name, ModelSource(str(file.parent), offline=True), file.name)


def base_config(files: BaseFiles) -> PretrainedConfig:
    """Raises UserError where it is not that of a causal language model whose enrollments can be kept, or the
    folder has no weights."""
    config = files.load(AutoConfig)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder:
        raise UserError(f"'{files.name}' is a model of type '{config.model_type}', not a causal {KIND}")
    _check_cache(config, files.name)
    if files.source.is_folder and files.gguf_file is None:
        refuse_pickles(Path(files.source.path), KIND)
    return config


def base_tokenizer(files: BaseFiles) -> PreTrainedTokenizerBase:
    return files.load(AutoTokenizer)


def check_base(name: str, weights: BaseWeights, targets: Sequence[str]) -> None:
    """Raises UserError for what `load_base` or an adapter on these targets would refuse; loads no weights."""
    config = base_config(find_base(name))
    _check_quantized(name, weights)
    with torch.device("meta"):
        check_targets(AutoModelForCausalLM.from_config(config), name, targets)


def load_base(
    name: str, weights: BaseWeights, commit: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The frozen model and its tokenizer, on the CPU; `commit` says which one of that name on the Hub."""
    files = find_base(name, commit)
    base_config(files)
    _check_quantized(name, weights)
    safe = {} if files.gguf_file else {"use_safetensors": True}
    model, report = files.load(AutoModelForCausalLM, **_loading(weights), **safe, output_loading_info=True)
    if missing := sorted(report["missing_keys"]):  # transformers would fill them with random numbers
        raise UserError(f"the weights of '{name}' lack {len(missing)} tensors, such as {missing[0]}")
    if files.gguf_file is not None:
        _forget_quantization(model)
    _keep_gradients(model)
    model.requires_grad_(False)
    _check_head(model, name)
    return model, base_tokenizer(files)


def check_targets(model: PreTrainedModel, name: str, targets: Sequence[str]) -> None:
    """Raises UserError for an adapter target that names no linear layer; peft would pass over it without a
    word where another target fits."""
    linear = {path for path, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D))}
    for target in targets:
        if not any(path == target or path.endswith(f".{target}") for path in linear):
            known = sorted({path.rpartition(".")[2] for path in linear} - {"lm_head"})
            raise UserError(
                f"lora.targets: {KIND} '{name}' has no linear layer '{target}': it has {', '.join(known)}"
            )


def context_length(config: PretrainedConfig) -> int | None:
    """Positions that the model was made for; None where it has no such limit."""
    return getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)


def _loading(weights: BaseWeights) -> dict[str, Any]:
    """Options of `from_pretrained`."""
    if weights in ("float32", "bfloat16"):
        return {"dtype": getattr(torch, weights)}
    quantized = BitsAndBytesConfig(
        load_in_8bit=weights == "8bit",
        load_in_4bit=weights == "4bit",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
    )
    return {"quantization_config": quantized, "dtype": torch.float32, "device_map": {"": "cpu"}}


def _check_quantized(name: str, weights: BaseWeights) -> None:
    if weights in ("8bit", "4bit"):
        require_package("bitsandbytes", "quantized", f"lora.base_weights: {weights}")
        if name.endswith(GGUF):
            raise UserError(f"lora.base_weights: {weights} of a GGUF file is not supported: give float32")


def _keep_gradients(model: PreTrainedModel) -> None:
    """On some CPUs bitsandbytes packs 4-bit weights anew at the first pass without gradients, and from then
    on no gradient goes through them, without a word: a validation would end the training."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _forget_quantization(model: PreTrainedModel) -> None:
    """A GGUF file's weights are plain numbers once loaded, but the model, still marked as quantized, would
    refuse to be saved."""
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def _check_cache(config: PretrainedConfig, name: str) -> None:
    """Refuse a model whose layers keep one running state (Mamba, linear attention): several positions after
    an enrollment are then read as if there were none, and a state has no copies."""
    layers = DynamicCache(config=config).layers
    if any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers):
        raise UserError(
            f"{KIND} '{name}' has recurrent layers (model type '{config.model_type}'), which cannot keep an "
            "enrollment for several queries: give one with attention alone"
        )


@torch.no_grad()
def _check_head(model: PreTrainedModel, name: str) -> None:
    """`LanguageModel` calls decoder and head apart: refuse a model that does more than that (soft-capped or
    scaled logits), whose probabilities would come out wrong without a word."""
    vocabulary = model.get_input_embeddings().num_embeddings
    # Several tokens, because a padding token's logits may all be 0.
    token_ids = torch.arange(min(8, vocabulary), device=model.device)[None]
    whole = model(input_ids=token_ids).logits
    apart = model.get_output_embeddings()(model.get_decoder()(input_ids=token_ids).last_hidden_state)
    if not torch.allclose(whole, apart, rtol=1e-3, atol=1e-3):
        raise UserError(f"language model '{name}' changes its logits after the head, which is not supported")
