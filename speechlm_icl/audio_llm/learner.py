"""A ready audio LLM as meta-training sees it: its own chat template, with the loss on the answers.

A sequence of clips and answers is one conversation, as the method `audio-llm` would show it. So what is
learned is what is asked later, for each family, and the tower and the projector are the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perser.audio import SAMPLE_RATE
from perser.corpora.corpus import Recordings
from perser.episodes.episode import Task
from perser.labels import EmotionSet
from speechlm_icl.audio_llm.binding import Marks, marked
from speechlm_icl.audio_llm.chat import TEXT_INPUTS, Answers, ClipInputs
from speechlm_icl.audio_llm.model import AudioLLM
from speechlm_icl.model.audio_tokens import expand_audio_tokens
from speechlm_icl.model.language_model import LanguageModel
from speechlm_icl.prompt.drawn_words import drawable_words
from speechlm_icl.prompt.prompt import IGNORE, EncodedPrompt, PromptBatch, PromptOptions, collate
from speechlm_icl.scoring.scoring import label_log_probabilities
from speechlm_icl.training.options import Loss
from speechlm_icl.training.reading import first_target, read
from speechlm_icl.training.sequences import PairSequence

POSITIONS_PER_SECOND = 25
"""About how long a clip is in a prompt, to sort sequences by length."""

ClipFeatures = Mapping[str, Tensor]
"""What a processor makes of the clips of one prompt."""


@dataclass(frozen=True)
class WaveformStore:
    """The clips of a corpus as waveforms (a `speechlm_icl.projectors.base.Store`)."""

    recordings: Recordings
    level: str = "waveform"

    def __getitem__(self, utterance_id: str) -> Tensor:
        return self.recordings.waveform(utterance_id)

    def num_rows(self, utterance_id: str) -> int:
        """Return about how many positions a clip takes."""
        return ceil(POSITIONS_PER_SECOND * self.recordings.duration(utterance_id))


@dataclass(frozen=True)
class ChatPrompt:
    """How a learner is asked."""

    emotions: EmotionSet
    options: PromptOptions


class AudioLearner(nn.Module):
    """An audio LLM with an adapter (a `speechlm_icl.training.learner.Learner`).

    Args:
        llm: The model.
        language_model: The same model with its adapter, which saves it.
        options: How prompts are worded, and whether pairs are bound.
    """

    def __init__(self, llm: AudioLLM, language_model: LanguageModel, options: PromptOptions) -> None:
        super().__init__()
        self.llm = llm
        self.language_model = language_model
        self.binding = llm.binding
        self.prompt = ChatPrompt(llm.emotions, options)

    @property
    def device(self) -> torch.device:
        return self.llm.model.device

    @cached_property
    def label_word_pool(self) -> list[str]:
        """The words that can be drawn as labels in training."""
        tokens = self.llm.tokens
        return drawable_words(tokens.chat.tokenizer, tokens.wording.labels, tokens.before)

    def train(self, mode: bool = True) -> AudioLearner:
        """Set the mode of the language model's layers. What hears the clips always answers as it does later:
        without dropout, and with the averages that it came with."""
        super().train(False)
        self.llm.model.get_decoder().layers.train(mode)
        self.training = mode
        return self

    def with_labels(self, labels: EmotionSet) -> AudioLearner:
        """Return this model with other labels; it shares all weights."""
        return AudioLearner(self.llm.with_labels(labels), self.language_model, self.prompt.options)

    def losses(self, batch: PromptBatch, features: Sequence[ClipFeatures]) -> Tensor:
        """Return the negative log-likelihood in nats of every target token (B, T); 0 where there is none.

        Each prompt is read by itself, because a processor may pad the clips of a batch to the longest one,
        which changes what some models hear.
        """
        rows = [self._losses_of(batch, row, own) for row, own in enumerate(features)]
        return torch.stack([F.pad(row, (0, batch.targets.shape[1] - len(row))) for row in rows])

    def _losses_of(self, batch: PromptBatch, row: int, features: ClipFeatures) -> Tensor:
        """Return the losses of one prompt, (T,) without padding."""
        length = int(batch.attention_mask[row].sum())
        targets = batch.targets[row, :length]
        places = (targets[1:] != IGNORE).nonzero()[:, 0]  # a token is predicted from the one before it
        marks = None if self.binding is None else Marks.of(batch, row)
        with marked(marks):
            logits = self.llm.logits_at(
                batch.token_ids[row : row + 1, :length], ClipInputs(features, ()), places
            )
        losses = F.cross_entropy(logits.float(), targets[1:][places], reduction="none")
        return losses.new_zeros(length).index_add(0, places + 1, losses)


def encode_conversation(
    llm: AudioLLM,
    clips: Sequence[np.ndarray],
    answers: Answers,
    labels: tuple[str, ...] | None,
    first_target: int,
) -> tuple[EncodedPrompt, ClipFeatures]:
    """Return the conversation of clips and answers, with the clips expanded, and what the processor makes of
    the clips.

    Args:
        llm: The model; its weights are not used.
        clips: The clips, (num_samples,) at 16 kHz each.
        answers: An answer to each.
        labels: The label words; None for those of the emotions.
        first_target: The first answer that is a target.
    """
    chat, tokens = llm.chat, llm.tokens
    wording = llm.wording if labels is None else llm.wording.with_labels(labels)
    messages = [*tokens.messages(clips, answers, wording), chat.user("?")]  # some want a question at last
    encoded = chat.encode([messages], clips)
    prompt, counts = chat.split_at_clips(encoded["input_ids"][0].tolist(), len(clips))
    expanded = expand_audio_tokens(tokens.marked(prompt, answers, wording, first_target), counts)
    features = {name: value for name, value in encoded.items() if name not in TEXT_INPUTS}
    return _up_to_last_target(expanded), features


def check_longest_fits(
    llm: AudioLLM, tasks: Sequence[Task], pairs: int, duration: Callable[[str], float]
) -> None:
    """Raise UserError where the longest sequence that can be drawn exceeds the model's context.

    Args:
        llm: The model; its weights are not used.
        tasks: The persons that sequences are drawn from.
        pairs: Largest number of pairs before the query.
        duration: Maps an utterance id to seconds.
    """
    longest = max(
        (sorted(map(duration, task.utterances), reverse=True)[: pairs + 1] for task in tasks), key=sum
    )
    clips = [np.zeros(ceil(SAMPLE_RATE * seconds), dtype=np.float32) for seconds in longest]
    prompt, _ = encode_conversation(llm, clips, [[0]] * len(clips), None, 0)
    llm.check_fits(len(prompt.token_ids), len(clips) - 1)


def _up_to_last_target(prompt: EncodedPrompt) -> EncodedPrompt:
    """Return a prompt without what follows the end of its last answer."""
    last = max(place for place, number in enumerate(prompt.ends) if number >= 0) + 1
    return replace(prompt, **{name: values[:last] for name, values in vars(prompt).items()})


@read.register
def read_conversations(
    model: AudioLearner,
    sequences: Sequence[PairSequence],
    store: WaveformStore,
    loss: Loss = "every",
    guesses: bool = True,
) -> tuple[PromptBatch, list[ClipFeatures]]:
    """Return the prompts of some sequences, and what the processor makes of the clips of each."""
    prompts, features = [], []
    for sequence in sequences:
        clips = [store[name].numpy() for name in sequence.utterances]
        target = first_target(sequence, loss, guesses)
        prompt, own = encode_conversation(model.llm, clips, sequence.answers, sequence.words, target)
        if sequence.renamed:
            prompt = replace(prompt, targets=_without_ends(prompt))
        prompts.append(prompt)
        features.append(own)
    return collate(prompts).to(model.device), features


def _without_ends(prompt: EncodedPrompt) -> list[int]:
    """Return the targets of a prompt without those of the answers' ends."""
    return [
        target if number >= 0 else IGNORE
        for target, number in zip(prompt.targets, prompt.answers, strict=True)
    ]


@label_log_probabilities.register
def score_conversations(
    model: AudioLearner,
    enrollment_features: Sequence[Tensor] | None,
    answers: Answers,
    query_features: Sequence[Tensor],
) -> Tensor:
    """Read enrolled clips and score queries after them: float32 (Q, C)."""
    enrolled, queries = (
        [clip.numpy() for clip in clips or ()] for clips in (enrollment_features, query_features)
    )
    return model.llm.score(model.llm.read(enrolled, answers), queries)
