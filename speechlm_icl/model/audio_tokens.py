"""Audio in a prompt: each clip has one placeholder, which is expanded to the clip's length and filled.

`expand_audio_tokens` repeats a placeholder once for each embedding of its clip; `insert_audio` writes those
embeddings to the placeholders' positions. In a text, the placeholder is `AUDIO_TOKEN`; the language model
has no embedding of it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AddedToken, PreTrainedTokenizerBase

from speechlm_icl.prompt.prompt import IGNORE, TEXT, EncodedPrompt

AUDIO_TOKEN = "<|audio|>"


def with_audio_token(tokenizer: PreTrainedTokenizerBase) -> tuple[PreTrainedTokenizerBase, int]:
    """Return a copy of the tokenizer that encodes `AUDIO_TOKEN` as one token, and that token's id.

    The copy pads with the end token where the tokenizer has no padding token.
    """
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens(AddedToken(AUDIO_TOKEN, normalized=False, special=True), special_tokens=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, tokenizer.convert_tokens_to_ids(AUDIO_TOKEN)


def expand_audio_tokens(prompt: EncodedPrompt, lengths: Sequence[int]) -> EncodedPrompt:
    """Return the prompt with the placeholder of clip i repeated `lengths[i]` times.

    Raises ValueError where the prompt has placeholders for another number of clips.
    """
    clips = sorted(clip for clip in prompt.clips if clip != TEXT)
    if clips != list(range(len(lengths))):
        raise ValueError(f"the prompt has placeholders for {len(clips)} clips, but {len(lengths)} were given")
    counts = [1 if clip == TEXT else lengths[clip] for clip in prompt.clips]

    def expand(values: list[int]) -> list[int]:
        return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]

    return replace(
        prompt,
        token_ids=expand(prompt.token_ids),
        clips=expand(prompt.clips),
        answers=expand(prompt.answers),
        ends=expand(prompt.ends),
        targets=expand(prompt.targets),
    )


def clip_at_each_position(audio: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return which clip each position belongs to (B, T), TEXT elsewhere. Placeholders must be expanded.

    Args:
        audio: Which positions are placeholders, bool (B, T).
        lengths: Number of placeholders of each clip in the batch, prompt by prompt.

    Raises ValueError where placeholders and clips do not match, in total or for one clip: the placeholders of
    a clip have to be adjacent positions of one prompt.
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
    same_clip = clip[1:] == clip[:-1]
    broken = same_clip & ((rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1] + 1))
    if broken.any():
        first = int(clip[1:][broken][0])
        raise ValueError(
            f"clip {first} takes {lengths[first]} positions, but has fewer adjacent audio placeholders"
        )
    clips = torch.full(audio.shape, TEXT, device=audio.device)
    clips[rows, columns] = clip
    return clips


def insert_audio(embeddings: Tensor, clips: Tensor, frames: Sequence[Tensor] | Tensor) -> Tensor:
    """Return the embeddings with every clip's frames at the positions of its placeholders.

    Args:
        embeddings: Embeddings of the prompts' tokens (B, T, H). Those at placeholders are replaced.
        clips: Which clip each position belongs to (B, T), TEXT elsewhere.
        frames: One (num_frames, H) tensor a clip, or (num_clips, num_frames, H).

    Raises ValueError where a clip has more or fewer placeholders than frames. A bare `masked_scatter` would
    write one clip's frames to the next clip's positions.
    """
    flat = clips.flatten()
    audio = flat >= 0
    placeholders = torch.bincount(flat[audio], minlength=len(frames)).tolist()
    lengths = [len(clip_frames) for clip_frames in frames]
    if len(placeholders) != len(lengths):
        raise ValueError(
            f"the prompts have placeholders for {len(placeholders)} clips, but {len(lengths)} were given"
        )
    for clip, (count, length) in enumerate(zip(placeholders, lengths, strict=True)):
        if count != length:
            raise ValueError(f"clip {clip} has {count} audio placeholders in the prompt but {length} frames")
    if not lengths:
        return embeddings
    # A stable sort keeps the order of a clip's frames, in whatever order the clips occur in the batch.
    order = torch.argsort(torch.where(audio, flat, len(lengths)), stable=True)[: sum(lengths)]
    values = torch.cat(list(frames)).to(embeddings.dtype)
    filled = embeddings.flatten(0, 1).index_copy(0, order, values)
    return filled.view_as(embeddings)


def pad_left(token_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return prompts (B, T) and their mask with the padding moved to the left."""
    order = torch.argsort(attention_mask.bool().int(), dim=1, stable=True)
    return token_ids.gather(1, order), attention_mask.gather(1, order)


def answer_numbers(clips: Tensor) -> Tensor:
    """Return which answer of its prompt each position belongs to (B, T): that to the clip begun last.

    Args:
        clips: Which clip each position belongs to (B, T), TEXT elsewhere.

    Answers count from 0. Positions before the first clip get -1.
    """
    before = torch.cat([torch.full_like(clips[:, :1], TEXT), clips[:, :-1]], dim=1)
    return ((clips != TEXT) & (clips != before)).cumsum(dim=1) - 1


def mask_labels(labels: Tensor, attention_mask: Tensor, audio: Tensor | None) -> Tensor:
    """Return labels (B, T) with IGNORE at audio, at padding and right after padding.

    A token right after padding would be predicted from padding. `audio` is True at audio tokens; None: there
    are none.
    """
    padding = attention_mask == 0
    ignored = padding | F.pad(padding[:, :-1], (1, 0))
    return labels.masked_fill(ignored if audio is None else ignored | audio, IGNORE)
