"""The language model that reads a prompt: embeddings in, hidden states and logits out.

It is either a tiny Llama that is built from its config and trained in full, or any causal language model of
transformers (see `base_model`), frozen, with a LoRA adapter of peft.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    Cache,
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from perser.encoders.loading import quiet_transformers
from perser.errors import UserError, first_line
from perser.io.hub import refuse_pickles
from perser.io.json_files import read_json
from speechlm_icl.model.base_model import (
    TINY_LLAMA,
    BaseWeights,
    base_config,
    base_tokenizer,
    check_base,
    check_targets,
    context_length,
    find_base,
    load_base,
)
from speechlm_icl.prompt.prompt import word_tokenizer

if TYPE_CHECKING:
    from peft import PeftModel

# peft asks every model that it loads or wraps for this, by a name that transformers has replaced.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)

LANGUAGE_MODEL_FOLDER, ADAPTER_FOLDER = "language_model", "adapter"
"""Subfolders of a model folder: the language model if it was trained in full, or else its adapter."""


@dataclass(frozen=True)
class LoraOptions:
    """The LoRA adapter of a frozen language model (not used by tiny-llama, which is trained in full).

    Args:
        r: Rank.
        alpha: Scale: the adapter's output is multiplied by alpha / r.
        targets: Names of the linear layers that get an adapter.
        base_weights: Number format of the frozen weights; 8bit and 4bit (QLoRA) need bitsandbytes.
        audio: Whether the audio tower and the projector of an audio LLM get adapters, too, in all of their
            linear layers; otherwise they stay as they are.
    """

    r: int = 8
    alpha: int = 32
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    base_weights: BaseWeights = "float32"
    audio: bool = False

    def __post_init__(self) -> None:
        if self.base_weights not in get_args(BaseWeights):
            raise ValueError(f"lora.base_weights must be one of {', '.join(get_args(BaseWeights))}")
        if self.r < 1 or self.alpha <= 0 or not self.targets:
            raise ValueError("lora: r must be at least 1, alpha above 0, and targets must not be empty")


class LanguageModel(nn.Module):
    """A causal language model behind three methods: `embed`, `hidden` and `logits`.

    Decoder and head are called separately, so that logits are computed only where an answer is predicted:
    with a vocabulary of 49,152, the head is a large share of the work.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
        base_weights: BaseWeights = "float32",
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.base_weights: BaseWeights = base_weights

    @property
    def has_adapter(self) -> bool:
        """Whether an adapter is trained, not the language model itself."""
        return not isinstance(self.model, PreTrainedModel)

    @property
    def causal(self) -> PreTrainedModel:
        """The transformers model (with the adapter's layers in it, where there is one)."""
        return self.model.get_base_model() if self.has_adapter else self.model

    @property
    def layers(self) -> list[nn.Module]:
        """The transformer layers, in their order."""
        kinds = set(self.causal._no_split_modules or ())
        return [module for module in self.causal.modules() if type(module).__name__ in kinds]

    @property
    def context(self) -> int | None:
        """How many positions a prompt may take; None where there is no limit."""
        return context_length(self.causal.config)

    @property
    def hidden_size(self) -> int:
        return self.causal.get_input_embeddings().embedding_dim

    @property
    def embedding_scale(self) -> float:
        """Root mean square of the token embeddings as `embed` returns them (Gemma multiplies its weights)."""
        vocabulary = torch.arange(
            self.causal.get_input_embeddings().num_embeddings, device=self.causal.device
        )
        with torch.no_grad():
            return float(self.embed(vocabulary[None]).float().square().mean().sqrt())

    def embed(self, token_ids: Tensor) -> Tensor:
        """Map token ids (B, T) to embeddings (B, T, H)."""
        return self.causal.get_input_embeddings()(token_ids)

    def hidden(
        self, embeddings: Tensor, attention_mask: Tensor, position_ids: Tensor, cache: Cache | None = None
    ) -> Tensor:
        """Map embeddings (B, T, H) to last hidden states (B, T, H).

        A cache is changed in place: it grows by T positions. The `attention_mask` (B, cached + T) then covers
        the cached positions too.
        """
        outputs = self.causal.get_decoder()(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return outputs.last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """Map hidden states (..., H) to logits over the vocabulary (..., V)."""
        return self.causal.get_output_embeddings()(hidden)

    def new_cache(self) -> Cache:
        """Return an empty key/value cache."""
        return DynamicCache(config=self.causal.config)

    def recompute_layers(self, on: bool) -> None:
        """Turn gradient checkpointing on or off: layers are recomputed in the backward pass to save memory.

        Raises UserError where the model does not support it.
        """
        # Granite Speech itself does not say that it supports it, but its decoder does.
        model = self.causal if self.causal.supports_gradient_checkpointing else self.causal.get_decoder()
        if on and not model.supports_gradient_checkpointing:
            raise UserError(f"gradient_checkpointing: language model '{self.name}' does not support it")
        # transformers 5.23 renamed the methods, and warns of the older names.
        kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
        if on:
            getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
        elif getattr(model, f"is_{kind}_checkpointing"):
            getattr(model, f"{kind}_checkpointing_disable")()

    def save(self, folder: Path) -> None:
        """Write what was trained into a model folder: the language model, or its adapter in peft's format."""
        with quiet_transformers():
            if self.has_adapter:
                self.model.save_pretrained(str(folder / ADAPTER_FOLDER), save_embedding_layers=False)
            else:
                self.model.save_pretrained(str(folder / LANGUAGE_MODEL_FOLDER))
                self.tokenizer.save_pretrained(folder / LANGUAGE_MODEL_FOLDER)


def new_language_model(name: str, texts: Sequence[str], lora: LoraOptions) -> LanguageModel:
    """Return a language model to train.

    Args:
        name: `tiny-llama`, a local folder, a Hub name or a GGUF file.
        texts: Every text that a prompt can contain; tiny-llama's vocabulary is made of them.
        lora: The adapter, for any model but tiny-llama.
    """
    if name == TINY_LLAMA:
        tokenizer = word_tokenizer(texts)
        model = LlamaForCausalLM(_tiny_config(len(tokenizer)))
        # Embeddings of Llama's own scale, 0.02, are drowned by what the first layers add to them: with them,
        # the model takes twice as many steps until it finds the enrolled clips like a query.
        nn.init.normal_(model.get_input_embeddings().weight)
        return LanguageModel(model, tokenizer, name)
    base, tokenizer = load_base(name, lora.base_weights)
    return LanguageModel(with_adapter(base, name, lora), tokenizer, name, lora.base_weights)


def load_language_model(
    folder: Path, name: str, weights: BaseWeights, commit: str | None = None
) -> LanguageModel:
    """Return the trained language model of a model folder.

    Args:
        folder: The model folder.
        name: `tiny-llama`, or the adapter's base model.
        weights: Number format of the base model.
        commit: Commit of the base model on the Hub, where it is known.
    """
    if name == TINY_LLAMA:
        refuse_pickles(folder / LANGUAGE_MODEL_FOLDER, "language model")
        with quiet_transformers():
            model = LlamaForCausalLM.from_pretrained(folder / LANGUAGE_MODEL_FOLDER, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(folder / LANGUAGE_MODEL_FOLDER, trust_remote_code=False)
        return LanguageModel(model, tokenizer, name)
    check_adapter(folder / ADAPTER_FOLDER)
    from peft import PeftModel  # slow, and prints a warning: it imports bitsandbytes where that is installed

    base, tokenizer = load_base(name, weights, commit)
    return LanguageModel(PeftModel.from_pretrained(base, folder / ADAPTER_FOLDER), tokenizer, name, weights)


def check_adapter(folder: Path) -> None:
    """Raise UserError for an adapter that makes peft load a pickle or import code that the adapter names."""
    config = read_json(folder / "adapter_config.json") or {}
    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError(
            f"{folder} holds no adapter_model.safetensors, the only format that is opened: "
            "train the model again"
        )
    if config.get("peft_type") != "LORA" or config.get("megatron_config"):
        raise UserError(f"{folder} holds no plain LoRA adapter (adapter_config.json): train the model again")


def with_adapter(
    base: PreTrainedModel, name: str, lora: LoraOptions, layers: Sequence[str] | None = None
) -> PeftModel:
    """Return the base model with a new LoRA adapter in it.

    `layers` are the names of the layers that get one; None: all that `lora.targets` names.
    """
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if layers is None:
        check_targets(base, name, lora.targets)
    if lora.base_weights in ("8bit", "4bit"):
        # This converts what is not quantized (norms, embeddings) to float32. The training has its own option
        # for gradient checkpointing.
        base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        target_modules=list(lora.targets if layers is None else layers),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base, config)


def _tiny_config(vocabulary: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=False,
    )


def check_language_model(name: str, lora: LoraOptions) -> None:
    """Raise UserError for a name that is no available causal language model, or adapter targets it lacks.

    Loads no weights.
    """
    if lora.audio:
        raise UserError(f"lora.audio: '{name}' has no audio tower: leave it out, or give an audio LLM")
    if name != TINY_LLAMA:
        check_base(name, lora.base_weights, lora.targets)


def tokenizer_and_context(name: str, texts: Sequence[str]) -> tuple[PreTrainedTokenizerBase, int | None]:
    """Return the tokenizer and context length that `new_language_model` will have. Loads no weights."""
    if name == TINY_LLAMA:
        tokenizer = word_tokenizer(texts)
        return tokenizer, context_length(_tiny_config(len(tokenizer)))
    files = find_base(name)
    return base_tokenizer(files), context_length(base_config(files))


def check_attention(attention: str) -> None:
    """Raise UserError for an attention function that no model can use here. Loads no weights."""
    config = LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    with torch.device("meta"):
        choose_attention(LlamaForCausalLM(config), attention)


def choose_attention(model: PreTrainedModel, attention: str) -> None:
    """Set the attention function of a model's language model. Raises UserError where it cannot be used."""
    try:
        model.set_attn_implementation(attention)
    except (ImportError, ValueError, RuntimeError, OSError) as error:
        remedy = "give sdpa or eager"
        if isinstance(error, ImportError):
            package = "flash-attn" if attention == "flash_attention_2" else "what it names"
            remedy = f"install {package}, or {remedy}"
        reason = first_line(error).rstrip(".")
        raise UserError(
            f"attn_implementation: '{attention}' cannot be used here ({reason}): {remedy}"
        ) from error
