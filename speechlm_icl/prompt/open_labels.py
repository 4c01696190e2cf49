"""Prompts whose labels a person made up: `sarcastic` and `tired` in place of the emotions.

A language model with the vocabulary of a whole language reads such a word itself. One that was trained from
scratch has a few words only: there, a word that it was trained on stands for each one that it lacks. Which
word it is does not matter to a model whose label words were drawn in training, because only the pairs said
what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.prompt.chat_template import token_ids
from speechlm_icl.prompt.prompt import PromptFormat, default_instruction


def open_prompt(
    tokenizer: PreTrainedTokenizerBase, trained: PromptFormat, labels: EmotionSet, words: Sequence[str]
) -> PromptFormat:
    """Return prompts worded as the trained ones, with other labels.

    Args:
        tokenizer: Of the language model.
        trained: The prompts that the model was trained with.
        labels: The labels to choose from.
        words: Words that can stand for a label, the best first: those that were drawn as labels in training.

    Raises UserError where there are more labels than words, or where the tokens of one label begin another's.
    """
    options = trained.options
    known = options.words(trained.emotions)
    instruction = options.instruction
    if instruction == default_instruction(known, options.joiner, bool(options.chat)):
        instruction = None  # it lists the emotions: a new one lists the labels
    standing = stand_ins(tokenizer, labels, list(dict.fromkeys([*words, *known])))
    worded = replace(options, instruction=instruction, label_words=standing)
    try:
        return PromptFormat(tokenizer, labels, worded)
    except UserError as error:
        raise UserError(f"{str(error).partition(': give')[0]}: use another word for it") from error


def reworded_prompt(
    tokenizer: PreTrainedTokenizerBase,
    trained: PromptFormat,
    instruction: str | None,
    words: Mapping[str, str],
) -> PromptFormat:
    """Return prompts of the same labels, with another instruction (None: the trained one) and other words.

    An instruction of its own that lists the emotions lists the new words. Raises UserError for words that the
    tokenizer lacks.
    """
    options = trained.options
    if instruction is None:
        own = default_instruction(options.words(trained.emotions), options.joiner, bool(options.chat))
        instruction = None if options.instruction == own else options.instruction
    elif tokenizer.unk_token_id is not None and tokenizer.unk_token_id in token_ids(tokenizer, instruction):
        raise UserError(
            "the language model was trained from scratch, and knows no other words than those of its "
            "training: only the prompt of a pretrained one can be worded in other ways"
        )
    return PromptFormat(
        tokenizer, trained.emotions, replace(options, instruction=instruction, label_words=dict(words))
    )


def stand_ins(tokenizer: PreTrainedTokenizerBase, labels: EmotionSet, words: Sequence[str]) -> dict[str, str]:
    """Return the word that stands for each label that the tokenizer cannot encode.

    Raises UserError where there are more of these labels than words.
    """
    lacking = [label for label in labels.names if not _can_encode(tokenizer, label)]
    if not lacking:  # so in training, where thousands of words to choose from would be encoded for nothing
        return {}
    free = [word for word in words if word not in labels.names and _can_encode(tokenizer, word)]
    if len(lacking) > len(free):
        most = len(labels) - len(lacking) + len(free)
        raise UserError(
            f"{len(labels)} labels are more than this model has words for: use {most} at most, or a model "
            "with a pretrained language model"
        )
    return dict(zip(lacking, free, strict=False))


def _can_encode(tokenizer: PreTrainedTokenizerBase, word: str) -> bool:
    tokens = token_ids(tokenizer, f" {word}")
    return bool(tokens) and tokenizer.unk_token_id not in tokens
