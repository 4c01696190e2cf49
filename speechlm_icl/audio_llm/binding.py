"""Bound pairs in an audio LLM: the tokens of an answer carry its clip (`speechlm_icl.model.binding`).

A model of transformers merges words and clips itself. So the pairs are bound where its decoder is given both
together, or where the decoder has merged them, by a hook. Which tokens are whose, the caller says for the
time of a pass, because other threads may read other prompts meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from speechlm_icl.audio_llm.families import AudioFamily
from speechlm_icl.model.binding import PairBinding
from speechlm_icl.prompt.prompt import TEXT, PromptBatch


@dataclass(frozen=True)
class Marks:
    """The answers of one prompt. Each tensor is int64 (1, T).

    Args:
        clips: Which clip each position belongs to; TEXT elsewhere.
        answers: At the words of an answer, the number of its clip; TEXT elsewhere.
        ends: The same at the last token of each answer's end.
        query_follows: Whether the prompt is an enrollment that a query follows; see `PairBinding`.
    """

    clips: Tensor
    answers: Tensor
    ends: Tensor
    query_follows: bool = False

    @classmethod
    def of(cls, batch: PromptBatch, row: int = 0, query_follows: bool = False) -> Marks:
        """Return the marks of one prompt of a batch, whose clips are counted through."""
        length = int(batch.attention_mask[row].sum())
        clips, answers, ends = (
            one[row : row + 1, :length] for one in (batch.clips, batch.answers, batch.ends)
        )
        first = clips[clips != TEXT].min() if (clips != TEXT).any() else 0
        clips, answers, ends = (
            torch.where(numbers == TEXT, TEXT, numbers - first) for numbers in (clips, answers, ends)
        )
        return cls(clips, answers, ends, query_follows)


_marks: ContextVar[Marks | None] = ContextVar("marks", default=None)


@contextmanager
def marked(marks: Marks | None) -> Iterator[None]:
    """Bind the pairs of one prompt in the passes of this block; None: nothing is bound."""
    before = _marks.set(marks)
    try:
        yield
    finally:
        _marks.reset(before)


def bind_pairs(model: PreTrainedModel, family: AudioFamily, binding: PairBinding) -> None:
    """Let a model bind pairs in the blocks of `marked`."""

    def before(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        return inputs, options | {"inputs_embeds": _bound(binding, options["inputs_embeds"])}

    def after(module: nn.Module, inputs: tuple[Any, ...], embeddings: Tensor) -> Tensor:
        return _bound(binding, embeddings)

    decoder = model.get_decoder()
    if family.merges_in:
        decoder.get_submodule(family.merges_in).register_forward_hook(after)
    else:
        decoder.register_forward_pre_hook(before, with_kwargs=True)


def _bound(binding: PairBinding, embeddings: Tensor) -> Tensor:
    marks = _marks.get()
    if marks is None:
        return embeddings
    clips = marks.clips[0]
    frames = [
        embeddings[0, clips == number].to(binding.clip.weight.dtype) for number in range(int(clips.max()) + 1)
    ]
    return binding(embeddings, frames, marks.clips, marks.answers, marks.ends, marks.query_follows)
