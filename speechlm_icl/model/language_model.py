"""The language model behind the prompt: embeddings in, hidden states and logits out.

Either a tiny Llama trained in full from its config, or any causal language model of transformers (see
`base_model`), frozen, with a LoRA adapter of peft.
"""

from __future__ import annotations

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
from perser.errors import UserError
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

WHOLE, ADAPTER = "language_model", "adapter"
"""Where in a model folder a model that was trained in full, or an adapter, is kept."""


@dataclass(frozen=True)
class LoraOptions:
    """The low-rank adapter of a frozen language model (not used by tiny-llama, which is trained in full).

    Args:
        r: Rank.
        alpha: Scale: an update is multiplied by alpha / r.
        targets: Names of the linear layers that get an adapter.
        base_weights: How the frozen weights under it are kept: 8bit and 4bit (QLoRA) need bitsandbytes.
    """

    r: int = 8
    alpha: int = 32
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    base_weights: BaseWeights = "float32"

    def __post_init__(self) -> None:
        if self.base_weights not in get_args(BaseWeights):
            raise ValueError(f"lora.base_weights must be one of {', '.join(get_args(BaseWeights))}")
        if self.r < 1 or self.alpha <= 0 or not self.targets:
            raise ValueError("lora: r must be at least 1, alpha above 0, and targets must not be empty")


class LanguageModel(nn.Module):
    """The narrow door to a causal language model: `embed`, `hidden`, `logits`.

    Decoder and head are called apart, so that logits are computed only where an answer is predicted: with a
    vocabulary of 49,152 the head is a large share of the work.
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
    def adapted(self) -> bool:
        """Whether an adapter is trained rather than the whole model."""
        return not isinstance(self.model, PreTrainedModel)

    @property
    def causal(self) -> PreTrainedModel:
        """The transformers model itself (with the adapter's layers inside it, where there is one)."""
        return self.model.get_base_model() if self.adapted else self.model

    @property
    def layers(self) -> list[nn.Module]:
        """Its transformer layers, in their order."""
        kinds = set(self.causal._no_split_modules or ())
        return [one for one in self.causal.modules() if type(one).__name__ in kinds]

    @property
    def context(self) -> int | None:
        """Positions that a prompt may take; None where there is no limit."""
        return context_length(self.causal.config)

    @property
    def hidden_size(self) -> int:
        return self.causal.get_input_embeddings().embedding_dim

    @property
    def embedding_scale(self) -> float:
        """Root mean square of the token embeddings, as `embed` gives them: Gemma's scales its weights."""
        vocabulary = torch.arange(
            self.causal.get_input_embeddings().num_embeddings, device=self.causal.device
        )
        with torch.no_grad():
            return float(self.embed(vocabulary[None]).float().square().mean().sqrt())

    def embed(self, token_ids: Tensor) -> Tensor:
        """Token ids (B, T) to embeddings (B, T, H)."""
        return self.causal.get_input_embeddings()(token_ids)

    def hidden(
        self, embeddings: Tensor, attention_mask: Tensor, position_ids: Tensor, cache: Cache | None = None
    ) -> Tensor:
        """Embeddings (B, T, H) to last hidden states (B, T, H).

        A cache is changed in place: it grows by the T positions. Then `attention_mask` (B, past + T) covers
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
        """Hidden states (..., H) to logits over the vocabulary (..., V)."""
        return self.causal.get_output_embeddings()(hidden)

    def new_cache(self) -> Cache:
        return DynamicCache(config=self.causal.config)

    def recompute_layers(self, on: bool) -> None:
        """Whether the layers, while training, keep nothing for the backward pass and compute it again there
        (gradient checkpointing). Raises UserError where the model does not support it."""
        if on and not self.causal.supports_gradient_checkpointing:
            raise UserError(f"gradient_checkpointing: language model '{self.name}' does not support it")
        if on:
            self.causal.gradient_checkpointing_enable({"use_reentrant": False})
        elif self.causal.is_gradient_checkpointing:
            self.causal.gradient_checkpointing_disable()

    def save(self, folder: Path) -> None:
        """Write what was trained into a model folder: all of it, or the adapter in peft's own format."""
        if self.adapted:
            self.model.save_pretrained(folder / ADAPTER, save_embedding_layers=False)
        else:
            self.model.save_pretrained(folder / WHOLE)
            self.tokenizer.save_pretrained(folder / WHOLE)


def new_language_model(name: str, texts: Sequence[str], lora: LoraOptions) -> LanguageModel:
    """A language model ready to be trained.

    Args:
        name: `tiny-llama`, a local folder, a Hub name or a GGUF file.
        texts: Every text that a prompt is made of: the vocabulary of tiny-llama.
        lora: The adapter of any other model.
    """
    if name == TINY_LLAMA:
        tokenizer = word_tokenizer(texts)
        return LanguageModel(LlamaForCausalLM(_tiny_config(len(tokenizer))), tokenizer, name)
    base, tokenizer = load_base(name, lora.base_weights)
    return LanguageModel(_with_adapter(base, name, lora), tokenizer, name, lora.base_weights)


def load_language_model(
    folder: Path, name: str, weights: BaseWeights, commit: str | None = None
) -> LanguageModel:
    """The trained language model of a model folder; `name` says where the base of an adapter is, `weights`
    how it was kept, and `commit` which one it is on the Hub."""
    if name == TINY_LLAMA:
        refuse_pickles(folder / WHOLE, "language model")
        with quiet_transformers():
            model = LlamaForCausalLM.from_pretrained(folder / WHOLE, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(folder / WHOLE, trust_remote_code=False)
        return LanguageModel(model, tokenizer, name)
    _check_adapter(folder / ADAPTER)
    from peft import PeftModel  # imports bitsandbytes where it is installed: slow, and it writes a warning

    base, tokenizer = load_base(name, weights, commit)
    return LanguageModel(PeftModel.from_pretrained(base, folder / ADAPTER), tokenizer, name, weights)


def _check_adapter(folder: Path) -> None:
    """Raises UserError for an adapter that peft would read from a pickle, or that makes it import a module of
    the adapter's choice."""
    config = read_json(folder / "adapter_config.json") or {}
    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError(f"{folder} holds no adapter_model.safetensors: no other weights are opened")
    if config.get("peft_type") != "LORA" or config.get("megatron_config"):
        raise UserError(f"{folder} holds no plain LoRA adapter (adapter_config.json): train the model again")


def _with_adapter(base: PreTrainedModel, name: str, lora: LoraOptions) -> PeftModel:
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    check_targets(base, name, lora.targets)
    if lora.base_weights in ("8bit", "4bit"):
        # Checkpointing is an option of training; what is not quantized (norms, embeddings) goes to float32.
        base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        target_modules=list(lora.targets),
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
    """Raises UserError for a name that is no causal language model within reach, or adapter targets that it
    does not have; loads no weights."""
    if name != TINY_LLAMA:
        check_base(name, lora.base_weights, lora.targets)


def tokenizer_and_context(name: str, texts: Sequence[str]) -> tuple[PreTrainedTokenizerBase, int | None]:
    """The tokenizer that `new_language_model` will have, and the positions that its prompts may take (None:
    no limit); loads no weights."""
    if name == TINY_LLAMA:
        tokenizer = word_tokenizer(texts)
        return tokenizer, context_length(_tiny_config(len(tokenizer)))
    files = find_base(name)
    return base_tokenizer(files), context_length(base_config(files))
