"""Read training sequences: their prompts, and the features of their clips."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

from perser.labels import EmotionSet
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.projectors.base import clips_on, read_clips
from speechlm_icl.prompt.open_labels import open_prompt
from speechlm_icl.prompt.prompt import PromptBatch, PromptFormat
from speechlm_icl.training.options import Loss
from speechlm_icl.training.sequences import PairSequence


@singledispatch
def read(
    model: Any,
    sequences: Sequence[PairSequence],
    store: Any,
    loss: Loss = "every",
    guesses: bool = True,
) -> tuple[PromptBatch, Any]:
    """Return the prompts of some sequences and their clips' features, on the model's device.

    The targets are every answer, or the last one alone; without `guesses` see `first_target`. Where words do
    not have their own meaning, the ends of answers are no targets: a small model that also has to predict
    them is slower to read the pairs. It learns the ends from other sequences.

    An audio LLM has a way of its own (`speechlm_icl.audio_llm.learner`).
    """
    utterances = [utterance for sequence in sequences for utterance in sequence.utterances]
    features = clips_on(read_clips(store, utterances), model.device)
    first = [first_target(sequence, loss, guesses) for sequence in sequences]
    prompts = [
        prompt_of(model, sequence).encode(sequence.answers, target, end_targets=not sequence.renamed)
        for sequence, target in zip(sequences, first, strict=True)
    ]
    return model.batch(prompts, features), features


def first_target(sequence: PairSequence, loss: Loss, guesses: bool = True) -> int:
    """Return the first answer of a sequence that is a target; all from there on are.

    Where words do not have their own meaning, nothing says the first answer. Without `guesses` it is no
    target: a model that learns it also learns to doubt the own words before the first pair.
    """
    if loss == "query":
        return len(sequence.answers) - 1
    return int(sequence.renamed and not guesses and len(sequence.answers) > 1)


def prompt_of(model: SpeechLMForICL, sequence: PairSequence) -> PromptFormat:
    """Return the format of a sequence's prompt, which has words of its own or the emotions'."""
    if sequence.words is None:
        return model.prompt
    tokenizer, labels = model.language_model.tokenizer, EmotionSet(sequence.words)
    return open_prompt(tokenizer, model.prompt, labels, model.label_word_pool)
