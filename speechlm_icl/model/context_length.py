"""Whether a prompt fits into the language model's context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import ceil

from perser.episodes.episode import Task
from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.model.language_model import tokenizer_and_context
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import Answer, PromptFormat, PromptOptions

FRAMES_A_SECOND = 50
"""Of every family of speech encoders here."""


def check_fits(
    prompt: PromptFormat, answers: Sequence[Answer], clip_tokens: Sequence[int], context: int | None
) -> None:
    """Raises UserError, which says how many pairs fit, where an enrollment and one query exceed the context.

    Args:
        prompt: How prompts are written.
        answers: The answers of the N pairs of the enrollment.
        clip_tokens: Positions of their N clips and of the query's clip, N + 1 numbers.
        context: Positions that the language model was made for; None for no limit.
    """
    if context is None:
        return
    turns = prompt.turns
    around = len(turns.cue) + len(turns.following)
    pairs = [
        clip + around + len(prompt.answer_tokens(answer))
        for clip, answer in zip(clip_tokens[:-1], answers, strict=True)
    ]
    query = clip_tokens[-1] + len(turns.cue) + max(map(len, prompt.labels))
    lengths = list(accumulate(pairs, initial=len(turns.start) + query))
    if lengths[-1] <= context:
        return
    if lengths[0] > context:
        raise UserError(
            f"instruction and query take {lengths[0]} positions, but the language model's context has "
            f"{context}: shorten the instruction"
        )
    fitting = sum(length <= context for length in lengths) - 1
    raise UserError(
        f"the prompt of {len(answers)} pairs takes {lengths[-1]} positions, but the language model's "
        f"context has {context}: {fitting} pairs fit"
    )


def check_query_fits(
    prompt: PromptFormat, enrolled: int, clip_tokens: Mapping[str, int], context: int | None
) -> None:
    """Raises UserError, which names the longest clip, where a query does not fit behind an enrollment.

    Args:
        prompt: How prompts are written.
        enrolled: Positions of the instruction and the pairs.
        clip_tokens: Positions of each query's clip, by utterance id.
        context: Positions that the language model was made for; None for no limit.
    """
    longest = max(clip_tokens, key=clip_tokens.__getitem__)
    taken = enrolled + clip_tokens[longest] + len(prompt.turns.cue) + max(map(len, prompt.labels))
    if context is not None and taken > context:
        raise UserError(
            f"'{longest}' takes {clip_tokens[longest]} positions, {taken} with the enrollment before it, but "
            f"the language model's context has {context}: cut the recording, or enroll fewer pairs"
        )


def check_training_fits(
    language_model: str,
    prompt: PromptOptions,
    emotions: EmotionSet,
    tasks: Sequence[Task],
    pairs: int,
    projector: ProjectorOptions,
    duration: Callable[[str], float],
) -> None:
    """`check_fits` for the longest sequence that can be drawn for meta-training, where `duration` gives an
    utterance's seconds; loads no weights. Raises UserError too for what is wrong with the prompt itself."""
    tokenizer, context = tokenizer_and_context(language_model, prompt.texts(emotions))
    form = PromptFormat(tokenizer, emotions, prompt)
    for task in tasks:
        answers = [[emotions.index(word) for word in words] for words in task.emotions]
        clips = [projector.num_tokens(ceil(FRAMES_A_SECOND * duration(one))) for one in task.utterances]
        drawn = list(zip(answers, clips, strict=True))
        drawn.sort(key=lambda pair: pair[1] + len(form.answer_tokens(pair[0])), reverse=True)
        (asked, query), *enrolled = drawn[: pairs + 1]
        # The query's answer is read to its end here, not only as far as a label is scored.
        told = len(form.answer_tokens(asked)) + len(form.turns.following) - max(map(len, form.labels))
        lengths = [*(count for _, count in enrolled), query + told]
        check_fits(form, [answer for answer, _ in enrolled], lengths, context)
