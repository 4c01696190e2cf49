"""Bound pairs: the tokens of an answer carry its clip.

In a prompt `clip, answer, end, clip, answer, end, ...` no position holds both a clip and its answer. A later
clip could match earlier clips and read their answers only in two steps, which take a language model thousands
of training steps to learn. So one linear map of the mean embedding of the clip is added to each word of its
answer and to the answer's end. The end also gets the mean embedding of the words. What is like a clip is then
found in one step, with the answer to it.

Words without their clip would be a trap. A model first learns to read which words are in use, from any
position that holds one. It stays at that when it reads them where no clip can be matched.

The answer to the last clip is still to be given, so its words are as they are in scoring and generation:
without the clip. Its end is never read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from speechlm_icl.prompt.chat_template import PromptTemplate
from speechlm_icl.prompt.prompt import TEXT


class PairBinding(nn.Module):
    """Adds each clip to the embeddings of its answer, and the answer to its end.

    Args:
        hidden_size: Width H of the embeddings.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.clip = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(
        self,
        embeddings: Tensor,
        frames: Sequence[Tensor] | Tensor,
        clips: Tensor,
        answers: Tensor,
        ends: Tensor,
        query_follows: bool = False,
    ) -> Tensor:
        """Return the embeddings (B, T, H) of prompts with bound pairs.

        Args:
            embeddings: Embeddings of the prompts (B, T, H).
            frames: The embeddings of each clip, (num_frames, H) a clip or (num_clips, num_frames, H).
            clips: Which clip each position belongs to (B, T), TEXT elsewhere.
            answers: At the words of an answer, the number of its clip; TEXT elsewhere (B, T).
            ends: The same at the end of each answer (B, T).
            query_follows: Whether the prompts are enrollments that a query follows: the answer to their last
                clip is then bound like the others.
        """
        if not len(frames):
            return embeddings
        flat = embeddings.flatten(0, 1)
        mapped = self.clip(clip_means(frames)).to(flat.dtype)
        given = answers if query_follows else answers.where(answers < clips.amax(dim=1, keepdim=True), TEXT)
        carried = mapped + _means(flat, answers.flatten(), len(frames))
        bound = _add(_add(flat, given.flatten(), mapped), ends.flatten(), carried)
        return bound.view_as(embeddings)


def _add(embeddings: Tensor, numbers: Tensor, added: Tensor) -> Tensor:
    """Add to each embedding (P, H) the row of `added` that has its number (P,); none where it is TEXT."""
    places = (numbers != TEXT).nonzero()[:, 0]
    return embeddings.index_add(0, places, added[numbers[places]].to(embeddings.dtype))


def clip_means(frames: Sequence[Tensor] | Tensor) -> Tensor:
    """Return the mean embedding of each clip (num_clips, H)."""
    if isinstance(frames, Tensor):
        return frames.mean(dim=1)
    return torch.stack([clip.mean(dim=0) for clip in frames])


def _means(embeddings: Tensor, numbers: Tensor, count: int) -> Tensor:
    """Return the mean of the embeddings (P, H) of each number: (count, H); 0 for a number that is nowhere."""
    places = (numbers != TEXT).nonzero()[:, 0]
    numbers = numbers[places]
    sums = embeddings.new_zeros(count, embeddings.shape[1]).index_add(0, numbers, embeddings[places])
    counts = torch.bincount(numbers, minlength=count).clamp_min(1)
    return sums / counts[:, None].to(sums.dtype)


def find_answers(token_ids: Tensor, clips: Tensor, template: PromptTemplate) -> tuple[Tensor, Tensor]:
    """Return `answers` and `ends` of `PairBinding` for prompts that were encoded as text (B, T).

    The answer to a clip is what follows it and the template's cue, up to the template's end, before the next
    clip begins. A clip without such an end, such as a query, is not bound.

    Args:
        token_ids: Token ids (B, T).
        clips: Which clip each position belongs to (B, T), TEXT elsewhere.
        template: Of the prompts.
    """
    answers, ends = torch.full_like(clips, TEXT), torch.full_like(clips, TEXT)
    cue, end = template.cue, template.end
    for row, (tokens, numbers) in enumerate(zip(token_ids.tolist(), clips.tolist(), strict=True)):
        last = {number: place for place, number in enumerate(numbers) if number != TEXT}
        for number, place in last.items():
            begin = place + 1
            if tokens[begin : begin + len(cue)] == cue:
                begin += len(cue)
            stop = begin
            while stop < len(tokens) and numbers[stop] == TEXT and tokens[stop : stop + len(end)] != end:
                stop += 1
            if tokens[stop : stop + len(end)] == end:
                answers[row, begin:stop] = number
                ends[row, stop + len(end) - 1] = number
    return answers, ends
