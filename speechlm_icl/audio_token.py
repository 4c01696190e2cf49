"""The token that stands for audio in a text; the language model itself has none."""

from __future__ import annotations

import copy

from transformers import AddedToken, PreTrainedTokenizerBase

AUDIO_TOKEN = "<|audio|>"


def with_audio_token(tokenizer: PreTrainedTokenizerBase) -> tuple[PreTrainedTokenizerBase, int]:
    """A copy of the tokenizer that writes `AUDIO_TOKEN` as one token, and that token's id. The copy pads with
    the end token where the tokenizer has no padding token."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens(AddedToken(AUDIO_TOKEN, normalized=False, special=True), special_tokens=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, tokenizer.convert_tokens_to_ids(AUDIO_TOKEN)
