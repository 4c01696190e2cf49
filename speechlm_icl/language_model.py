"""The language model behind the prompt: embeddings in, hidden states and logits out.

Either a tiny Llama trained in full from its config, or any causal language model of transformers (a local
folder or a Hub name), frozen, with a LoRA adapter of peft.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Cache,
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from perser.errors import UserError
from perser.hub import hub_answers
from speechlm_icl.prompt import word_tokenizer

if TYPE_CHECKING:
    from peft import PeftModel

TINY_LLAMA = "tiny-llama"
WHOLE, ADAPTER = "language_model", "adapter"
"""Where in a model folder a model that was trained in full, or an adapter, is kept."""


@dataclass(frozen=True)
class LoraOptions:
    """The low-rank adapter of a frozen language model (not used by tiny-llama, which is trained in full).

    Args:
        r: Rank.
        alpha: Scale: an update is multiplied by alpha / r.
        targets: Names of the linear layers that get an adapter.
    """

    r: int = 8
    alpha: int = 32
    targets: tuple[str, ...] = ("q_proj", "v_proj")

    def __post_init__(self) -> None:
        if self.r < 1 or self.alpha <= 0 or not self.targets:
            raise ValueError("lora: r must be at least 1, alpha above 0, and targets must not be empty")


class LanguageModel(nn.Module):
    """The narrow door to a causal language model: `embed`, `hidden`, `logits`.

    Decoder and head are called apart, so that logits are computed only where an answer is predicted: with a
    vocabulary of 49,152 the head is a large share of the work.
    """

    def __init__(
        self, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, name: str
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.name = name

    @property
    def adapted(self) -> bool:
        """Whether an adapter is trained rather than the whole model."""
        return not isinstance(self.model, PreTrainedModel)

    @property
    def causal(self) -> PreTrainedModel:
        """The transformers model itself (with the adapter's layers inside it, where there is one)."""
        return self.model.get_base_model() if self.adapted else self.model

    @property
    def hidden_size(self) -> int:
        return self.causal.get_input_embeddings().embedding_dim

    @property
    def embedding_scale(self) -> float:
        """Root mean square of the token embeddings."""
        return float(self.causal.get_input_embeddings().weight.detach().float().square().mean().sqrt())

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
        name: `tiny-llama`, a local folder or a Hub name.
        texts: Every text that a prompt is made of: the vocabulary of tiny-llama.
        lora: The adapter of any other model.
    """
    if name == TINY_LLAMA:
        tokenizer = word_tokenizer(texts)
        return LanguageModel(_tiny_llama(len(tokenizer)), tokenizer, name)
    base, tokenizer = _load_base(name)
    return LanguageModel(_with_adapter(base, name, lora), tokenizer, name)


def load_language_model(folder: Path, name: str, commit: str | None = None) -> LanguageModel:
    """The trained language model of a model folder; `name` says where the base of an adapter is, and `commit`
    which one it is on the Hub."""
    if name == TINY_LLAMA:
        model = LlamaForCausalLM.from_pretrained(folder / WHOLE)
        return LanguageModel(model, AutoTokenizer.from_pretrained(folder / WHOLE), name)
    from peft import PeftModel  # imports bitsandbytes where it is installed: slow, and it writes a warning

    base, tokenizer = _load_base(name, commit)
    return LanguageModel(PeftModel.from_pretrained(base, folder / ADAPTER), tokenizer, name)


def _with_adapter(base: PreTrainedModel, name: str, lora: LoraOptions) -> PeftModel:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        target_modules=list(lora.targets),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(base, config)
    except ValueError as error:
        raise UserError(f"LoRA does not fit language model '{name}' (lora.targets): {error}") from error


def _tiny_llama(vocabulary: int) -> LlamaForCausalLM:
    config = LlamaConfig(
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
    return LlamaForCausalLM(config)


def check_language_model(name: str) -> None:
    """Raises UserError for a name that is no model folder and neither on the Hub nor, where the Hub cannot be
    reached, in its local cache; loads no weights."""
    if name == TINY_LLAMA or not _only_on_this_machine(name):
        return
    try:
        AutoConfig.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError) as error:
        raise _out_of_reach(name) from error


def _only_on_this_machine(name: str) -> bool:
    """Whether the Hub is out of reach, for a name that is not a model folder."""
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"cannot load language model '{name}': the folder has no config.json")
        return False
    return not hub_answers(name, f"cannot load language model '{name}': no local folder, and not on the Hub")


def _out_of_reach(name: str) -> UserError:
    return UserError(
        f"cannot load language model '{name}': the Hugging Face Hub cannot be reached, and it is not in the "
        f"local cache: give a model folder, or {TINY_LLAMA}"
    )


def _load_base(name: str, commit: str | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    offline = _only_on_this_machine(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=commit, local_files_only=offline)
        model = AutoModelForCausalLM.from_pretrained(
            name, revision=commit, dtype=torch.float32, local_files_only=offline
        )
    except (OSError, ValueError) as error:
        if offline:
            raise _out_of_reach(name) from error
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"cannot load language model '{name}' (a folder or a Hub name): {reason}") from error
    model.requires_grad_(False)
    _check_head(model, name)
    return model, tokenizer


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
