"""The token that stands for audio in a text; the language model itself has none.

Clips in a prompt: one placeholder each, expanded to the clip's own length and filled with its frames.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import AddedToken, PreTrainedTokenizerBase

from speechlm_icl.prompt.prompt import TEXT, EncodedPrompt

AUDIO_TOKEN = "<|audio|>"


def with_audio_token(tokenizer: PreTrainedTokenizerBase) -> tuple[PreTrainedTokenizerBase, int]:
    """A copy of the tokenizer that writes `AUDIO_TOKEN` as one token, and that token's id. The copy pads with
    the end token where the tokenizer has no padding token."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens(AddedToken(AUDIO_TOKEN, normalized=False, special=True), special_tokens=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, tokenizer.convert_tokens_to_ids(AUDIO_TOKEN)


def expand(prompt: EncodedPrompt, lengths: Sequence[int]) -> EncodedPrompt:
    """The prompt with each clip's one placeholder repeated `lengths[clip]` times (clips by the prompt's own
    numbers). Raises ValueError where the prompt has places for another number of clips."""
    places = sorted(clip for clip in prompt.clips if clip != TEXT)
    if places != list(range(len(lengths))):
        raise ValueError(f"the prompt has places for {len(places)} clips, {len(lengths)} were given")
    counts = [1 if clip == TEXT else lengths[clip] for clip in prompt.clips]

    def repeated(values: list[int]) -> list[int]:
        return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]

    return replace(
        prompt,
        token_ids=repeated(prompt.token_ids),
        clips=repeated(prompt.clips),
        targets=repeated(prompt.targets),
    )


def clips_at(audio: Tensor, lengths: Sequence[int]) -> Tensor:
    """Which clip each position belongs to (B, T), TEXT elsewhere, where placeholders are expanded.

    Args:
        audio: Where the placeholders are, bool (B, T).
        lengths: Of every clip in the batch, prompt by prompt.

    Raises ValueError where placeholders and clips differ, in all or for any one clip: a clip takes places
    that follow each other in one prompt.
    """
    rows, columns = audio.nonzero(as_tuple=True)
    if len(rows) != sum(lengths):
        raise ValueError(
            f"the prompts have {len(rows)} audio placeholders, but the {len(lengths)} clips given take "
            f"{sum(lengths)}"
        )
    clip = torch.repeat_interleave(
        torch.arange(len(lengths), device=audio.device),
        torch.tensor(lengths, dtype=torch.int64, device=audio.device),
    )
    same = clip[1:] == clip[:-1]
    broken = same & ((rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1] + 1))
    if broken.any():
        first = int(clip[1:][broken][0])
        raise ValueError(f"clip {first} takes {lengths[first]} places, but its placeholders are fewer")
    clips = torch.full(audio.shape, TEXT, device=audio.device)
    clips[rows, columns] = clip
    return clips


def splice(embeddings: Tensor, clips: Tensor, frames: Sequence[Tensor] | Tensor) -> Tensor:
    """Put the frames of every clip at its placeholder positions in the prompt.

    Args:
        embeddings: Embeddings of the prompt's tokens (B, T, H); what stands at a placeholder is replaced.
        clips: Which clip each position belongs to (B, T), -1 where there is text.
        frames: One (num_frames, H) tensor a clip, or (num_clips, num_frames, H).

    Raises ValueError when a clip's placeholders and frames differ in number: a bare `masked_scatter` would
    let one clip's frames run on into the next clip's place.
    """
    flat = clips.flatten()
    audio = flat >= 0
    placeholders = torch.bincount(flat[audio], minlength=len(frames)).tolist()
    lengths = [len(clip_frames) for clip_frames in frames]
    if len(placeholders) != len(lengths):
        raise ValueError(f"the prompt has places for {len(placeholders)} clips, {len(lengths)} were given")
    for clip, (places, length) in enumerate(zip(placeholders, lengths, strict=True)):
        if places != length:
            raise ValueError(f"clip {clip} has {places} places in the prompt but {length} frames")
    if not lengths:
        return embeddings
    # Stable, so that a clip's frames keep their order whatever the order of the clips in the batch.
    order = torch.argsort(torch.where(audio, flat, len(lengths)), stable=True)[: sum(lengths)]
    values = torch.cat(list(frames)).to(embeddings.dtype)
    spliced = embeddings.flatten(0, 1).index_copy(0, order, values)
    return spliced.view_as(embeddings)


def padded_left(token_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """The same prompts (B, T) with their padding moved to the left, and its mask."""
    order = torch.argsort(attention_mask.bool().int(), dim=1, stable=True)
    return token_ids.gather(1, order), attention_mask.gather(1, order)


def answer_numbers(clips: Tensor) -> Tensor:
    """How many clips begin at or before each position of its prompt, less one (B, T): -1 before the first."""
    before = torch.cat([torch.full_like(clips[:, :1], TEXT), clips[:, :-1]], dim=1)
    return ((clips != TEXT) & (clips != before)).cumsum(dim=1) - 1
