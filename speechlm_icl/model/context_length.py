"""Check that prompts fit into the language model's context."""

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

FRAMES_PER_SECOND = 50
"""Frame rate of every supported family of speech encoders."""


def check_fits(
    prompt: PromptFormat, answers: Sequence[Answer], clip_tokens: Sequence[int], context: int | None
) -> None:
    """Raise UserError where an enrollment and one query exceed the context. It says how many pairs fit.

    Args:
        prompt: Encodes the prompts.
        answers: Answers of the N pairs of the enrollment.
        clip_tokens: Number of positions of each of their N clips, then of the query's clip.
        context: Positions that the language model was made for; None for no limit.
    """
    if context is None:
        return
    template = prompt.template
    around = len(template.cue) + len(template.following)
    pairs = [
        clip + around + len(prompt.answer_tokens(answer))
        for clip, answer in zip(clip_tokens[:-1], answers, strict=True)
    ]
    query = clip_tokens[-1] + len(template.cue) + max(map(len, prompt.labels))
    lengths = list(accumulate(pairs, initial=len(template.start) + query))
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
    """Raise UserError where a query does not fit after an enrollment. It names the longest clip.

    Args:
        prompt: Encodes the prompts.
        enrolled: Number of positions of the instruction and the pairs.
        clip_tokens: Number of positions of each query's clip, by utterance id.
        context: Positions that the language model was made for; None for no limit.
    """
    longest = max(clip_tokens, key=clip_tokens.__getitem__)
    taken = enrolled + clip_tokens[longest] + len(prompt.template.cue) + max(map(len, prompt.labels))
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
    """Raise UserError where the longest sequence that meta-training can draw exceeds the context.

    Args:
        language_model: Name of the language model, whose weights are not loaded.
        prompt: Wording of the prompts. What is wrong with it raises UserError, too.
        emotions: The emotion set.
        tasks: The persons that sequences are drawn from.
        pairs: Largest number of pairs before the query.
        projector: Gives the number of positions of each clip.
        duration: Maps an utterance id to seconds.
    """
    tokenizer, context = tokenizer_and_context(language_model, prompt.texts(emotions))
    prompts = PromptFormat(tokenizer, emotions, prompt)
    for task in tasks:
        answers = emotions.indices(task.emotions)
        frames = [ceil(FRAMES_PER_SECOND * duration(utterance)) for utterance in task.utterances]
        longest = list(zip(answers, map(projector.num_tokens, frames), strict=True))
        longest.sort(key=lambda pair: pair[1] + len(prompts.answer_tokens(pair[0])), reverse=True)
        (query_answer, query_tokens), *enrolled = longest[: pairs + 1]
        # `check_fits` counts the query up to its longest label. Training reads its whole answer.
        rest = len(prompts.answer_tokens(query_answer)) + len(prompts.template.following)
        rest -= max(map(len, prompts.labels))
        lengths = [*(count for _, count in enrolled), query_tokens + rest]
        check_fits(prompts, [answer for answer, _ in enrolled], lengths, context)
