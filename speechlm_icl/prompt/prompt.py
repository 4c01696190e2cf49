"""The prompt: `start (<audio> cue label words end following)*`, as token ids, audio places and targets.

`turns` says what stands around the clips and the label words, which have the same tokens wherever they stand:
while training, in the enrollment and where they are scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Literal

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Sequence as PreTokenizers
from tokenizers.pre_tokenizers import Split
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.prompt.chat_template import chat_turns, plain_turns, token_ids

TEXT = -1
"""Stands in `clips` where a position is no audio."""

IGNORE = -100
"""Stands in `targets` where nothing is to be predicted."""

DEFAULT_INSTRUCTION = (
    "You hear recordings of speech, one after the other. Answer each with the emotion that is heard in it, "
    "or with several, as in '{labels[0]}{joiner} {labels[1]}'. The emotions are: {listed}. All answers so "
    "far are right for one and the same person: learn from them how emotions sound to, or in, this person."
)
"""What a pretrained language model is told."""

Answer = Sequence[int]
"""The emotions of one clip as class indices, in the order in which the prompt says them."""


@dataclass(frozen=True)
class PromptOptions:
    """How a prompt is worded.

    Args:
        instruction: Text before the first clip; empty for none; null for one that names the emotions, or for
            none where the vocabulary (tiny-llama's) holds little but label words.
        chat: Whether the language model's chat template stands around clips and answers; auto: where it has
            one.
        joiner: Between two emotions of one clip.
        separator: Ends each clip's label words; with a chat template, its end of turn does.
        label_words: Words that stand for an emotion, as in `angry: very angry`; default is its name.
    """

    instruction: str | None = None
    chat: bool | Literal["auto"] = "auto"
    joiner: str = " and"
    separator: str = "\n"
    label_words: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.joiner.strip() or not self.separator:
            raise ValueError("prompt.joiner and prompt.separator must not be empty")

    def words(self, emotions: EmotionSet) -> list[str]:
        """Label words by class. Raises UserError for words given to an emotion that is not in the set."""
        for emotion in self.label_words:
            emotions.index(emotion)
        return [self.label_words.get(emotion, emotion) for emotion in emotions.names]

    def texts(self, emotions: EmotionSet) -> list[str]:
        """Every text that a prompt can be made of."""
        return [self.instruction or "", self.joiner, self.separator, *self.words(emotions)]

    def settled(self, tokenizer: PreTrainedTokenizerBase, emotions: EmotionSet) -> PromptOptions:
        """The same with nothing left open. Raises UserError for `chat: true` without a chat template."""
        templated = bool(getattr(tokenizer, "chat_template", None))
        if self.chat is True and not templated:
            raise UserError(
                "prompt.chat: true, but the language model has no chat template: give auto or false"
            )
        chat = templated if self.chat == "auto" else self.chat
        instruction = self.instruction
        if instruction is None:
            labels = self.words(emotions)
            said = {"labels": labels, "joiner": self.joiner, "listed": ", ".join(labels)}
            instruction = DEFAULT_INSTRUCTION.format(**said) + ("" if chat else "\n")
            if tokenizer.unk_token_id in token_ids(tokenizer, instruction):
                instruction = ""
        return replace(self, instruction=instruction, chat=chat)


@dataclass(frozen=True)
class EncodedPrompt:
    """One prompt, position by position (lists of equal length)."""

    token_ids: list[int]
    clips: list[int]  # the prompt's own clip number, TEXT elsewhere
    targets: list[int]  # the token that is to be predicted to stand here, IGNORE elsewhere


@dataclass(frozen=True)
class PromptBatch:
    """Right-padded prompts; every tensor is int64 of shape (B, T)."""

    token_ids: Tensor
    clips: Tensor  # number of the clip in the batch (prompt by prompt), TEXT elsewhere
    targets: Tensor
    attention_mask: Tensor
    position_ids: Tensor

    def to(self, device: torch.device) -> PromptBatch:
        return replace(self, **{name: tensor.to(device) for name, tensor in vars(self).items()})


class PromptFormat:
    """Writes prompts for one tokenizer and emotion set; its `options` have nothing left open.

    Raises UserError when one emotion's tokens begin another's: their probabilities would overlap.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        emotions: EmotionSet,
        options: PromptOptions,
    ) -> None:
        self.emotions = emotions
        self.options = options = options.settled(tokenizer, emotions)
        if options.chat:
            self.turns = chat_turns(tokenizer, options.instruction)
        else:
            self.turns = plain_turns(tokenizer, options.instruction, options.separator)
        self.joiner = token_ids(tokenizer, options.joiner)
        words = options.words(emotions)
        self.labels: list[tuple[int, ...]] = [
            tuple(token_ids(tokenizer, f" {text.strip()}")) for text in words
        ]
        self._check_labels(words, unknown=tokenizer.unk_token_id)

    def _check_labels(self, words: list[str], unknown: int | None) -> None:
        for word, label in zip(words, self.labels, strict=True):
            if not label or unknown in label:
                raise UserError(f"the language model's tokenizer cannot write the label '{word}'")
        for one, other in permutations(range(len(words)), 2):
            if self.labels[other][: len(self.labels[one])] == self.labels[one]:
                raise UserError(
                    f"the tokens of label '{words[one]}' begin those of '{words[other]}': "
                    "give one of them other words (prompt.label_words)"
                )

    def answer_tokens(self, answer: Answer) -> list[int]:
        """An answer's label words, joined, and its end. Raises UserError for one without emotions."""
        if not answer:
            raise UserError("an annotation without any emotion: give at least one")
        tokens = list(self.labels[answer[0]])
        for emotion in answer[1:]:
            tokens += [*self.joiner, *self.labels[emotion]]
        return tokens + self.turns.end

    def encode(self, answers: Sequence[Answer], first_target: int = 0) -> EncodedPrompt:
        """A prompt of clips, one placeholder each, and their answers, which ends where a further clip can
        stand.

        Label words, joiners and ends are targets from answer `first_target` on: the end teaches where an
        answer ends. Nothing else is ever a target.
        """
        turns = self.turns
        prompt = EncodedPrompt(list(turns.start), [TEXT] * len(turns.start), [IGNORE] * len(turns.start))
        for clip, answer in enumerate(answers):
            tokens = self.answer_tokens(answer)
            told = [*turns.cue, *tokens, *turns.following]
            targets = tokens if clip >= first_target else [IGNORE] * len(tokens)
            prompt.token_ids.extend([0, *told])
            prompt.clips.extend([clip] + [TEXT] * len(told))
            prompt.targets.extend([IGNORE] * (1 + len(turns.cue)) + targets + [IGNORE] * len(turns.following))
        return prompt


def collate(prompts: Sequence[EncodedPrompt]) -> PromptBatch:
    """Right-pad prompts into a batch, whose clips are numbered prompt by prompt."""
    shape = (len(prompts), max(len(prompt.token_ids) for prompt in prompts))
    token_ids = torch.zeros(shape, dtype=torch.int64)
    attention_mask = torch.zeros(shape, dtype=torch.int64)
    clips = torch.full(shape, TEXT)
    targets = torch.full(shape, IGNORE)
    first_clip = 0
    for row, prompt in enumerate(prompts):
        length = len(prompt.token_ids)
        token_ids[row, :length] = torch.tensor(prompt.token_ids)
        targets[row, :length] = torch.tensor(prompt.targets)
        attention_mask[row, :length] = 1
        prompt_clips = torch.tensor(prompt.clips)
        clips[row, :length] = torch.where(prompt_clips == TEXT, TEXT, prompt_clips + first_clip)
        first_clip += max(prompt.clips, default=TEXT) + 1
    return PromptBatch(token_ids, clips, targets, attention_mask, positions(attention_mask))


def positions(attention_mask: Tensor) -> Tensor:
    """Position ids (B, T) that count real tokens alone, so that padding on either side changes nothing."""
    return (attention_mask.cumsum(dim=1) - 1).clamp_min(0)


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the words (and line ends) of `texts`: for a model trained from scratch."""
    splitter = PreTokenizers([Split(" ", behavior="removed"), Split("\n", behavior="isolated")])
    words = dict.fromkeys(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<unk>", *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = splitter
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
