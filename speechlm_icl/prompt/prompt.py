"""Encode prompts `start (<audio> cue label words end following)*` as token ids, clip numbers and targets.

`PromptFormat.template` holds the tokens around clips and label words. A label has the same tokens in
training, in the enrollment and where it is scored.
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

from perser.device import to_device
from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.prompt.chat_template import from_chat_template, plain_template, token_ids
from speechlm_icl.prompt.drawn_words import stand_ins

TEXT = -1
"""Value of `clips` at positions of text."""

IGNORE = -100
"""Value of `targets` at positions where nothing is predicted."""

DEFAULT_INSTRUCTION = (
    "You hear recordings of speech, one after the other. Answer each with the emotion that is heard in it, "
    "or with several, as in '{labels[0]}{joiner} {labels[1]}'. The emotions are: {listed}. All answers so "
    "far are right for one and the same person: learn from them how emotions sound to, or in, this person."
)
"""The instruction for a pretrained language model where none is set."""

Answer = Sequence[int]
"""The emotions of one clip as class indices, in the order in which the prompt lists them."""


@dataclass(frozen=True)
class PromptOptions:
    """How a prompt is worded.

    Args:
        instruction: Text before the first clip; it may be empty. none: a text that lists the emotions, or no
            text where the vocabulary lacks its words (as tiny-llama's does).
        chat: Whether to use the language model's chat template; auto uses it where there is one.
        joiner: Text between two emotions of one clip.
        separator: Text that ends each clip's label words. A chat template ends them with its own end of turn.
        label_words: Words that stand for an emotion, as in `angry: very angry`. The default is its name.
        bind: Whether pairs are bound: the tokens of an answer carry its clip, so that a later clip finds the
            answers to clips like it. A model that was trained with it needs it.
        other: Word for a clip that has none of the labels that the prompt uses.
    """

    instruction: str | None = None
    chat: bool | Literal["auto"] = "auto"
    joiner: str = " and"
    separator: str = "\n"
    label_words: dict[str, str] = field(default_factory=dict)
    bind: bool = True
    other: str = "other"

    def __post_init__(self) -> None:
        if not self.joiner.strip() or not self.separator:
            raise ValueError("prompt.joiner and prompt.separator must not be empty")

    def words(self, emotions: EmotionSet) -> list[str]:
        """Return the label words by class. Raises UserError where `label_words` has an unknown emotion."""
        for emotion in self.label_words:
            emotions.index(emotion)
        return [self.label_words.get(emotion, emotion) for emotion in emotions.names]

    def texts(self, emotions: EmotionSet) -> list[str]:
        """Return every text that a prompt can contain."""
        texts = [self.instruction or "", self.joiner, self.separator, *self.words(emotions)]
        return [*texts, self.other, *stand_ins()] if self.bind else texts

    def resolve(self, tokenizer: PreTrainedTokenizerBase, emotions: EmotionSet) -> PromptOptions:
        """Return the options with a definite instruction and `chat` either true or false.

        Raises UserError for `chat: true` where the tokenizer has no chat template.
        """
        has_template = bool(getattr(tokenizer, "chat_template", None))
        if self.chat is True and not has_template:
            raise UserError(
                "prompt.chat: true, but the language model has no chat template: set it to auto or false"
            )
        chat = has_template if self.chat == "auto" else self.chat
        instruction = self.instruction
        if instruction is None:
            instruction = default_instruction(self.words(emotions), self.joiner, chat)
            if tokenizer.unk_token_id in token_ids(tokenizer, instruction):
                instruction = ""
        return replace(self, instruction=instruction, chat=chat)


def default_instruction(labels: Sequence[str], joiner: str, chat: bool) -> str:
    """Return the instruction for a pretrained language model that lists these label words."""
    fields = {"labels": labels, "joiner": joiner, "listed": ", ".join(labels)}
    return DEFAULT_INSTRUCTION.format(**fields) + ("" if chat else "\n")


@dataclass(frozen=True)
class EncodedPrompt:
    """One prompt as lists of equal length, with one entry a position."""

    token_ids: list[int]
    clips: list[int]  # number of the clip within the prompt; TEXT elsewhere
    answers: list[int]  # at the words of an answer, the number of its clip; TEXT elsewhere
    ends: list[int]  # at the last token of an answer's end, the number of its clip; TEXT elsewhere
    targets: list[int]  # the token that has to be predicted at this position; IGNORE elsewhere


@dataclass(frozen=True)
class PromptBatch:
    """A batch of right-padded prompts. Every tensor is int64 of shape (B, T)."""

    token_ids: Tensor
    clips: Tensor  # number of the clip within the batch, counted prompt by prompt; TEXT elsewhere
    answers: Tensor  # at the words of an answer, the number of its clip; TEXT elsewhere
    ends: Tensor  # at the last token of an answer's end, the number of its clip; TEXT elsewhere
    targets: Tensor
    attention_mask: Tensor
    position_ids: Tensor

    def to(self, device: torch.device) -> PromptBatch:
        return replace(self, **{name: to_device(tensor, device) for name, tensor in vars(self).items()})


class PromptFormat:
    """Encodes prompts for one tokenizer and emotion set. Its options are resolved (`PromptOptions.resolve`).

    Raises UserError where the tokenizer cannot encode a label, and where the tokens of one label are a prefix
    of another's, because their probabilities would overlap.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        emotions: EmotionSet,
        options: PromptOptions,
    ) -> None:
        self.tokenizer = tokenizer
        self.emotions = emotions
        self.options = options = options.resolve(tokenizer, emotions)
        assert options.instruction is not None  # resolved
        if options.chat:
            self.template = from_chat_template(tokenizer, options.instruction)
        else:
            self.template = plain_template(tokenizer, options.instruction, options.separator)
        self.joiner = token_ids(tokenizer, options.joiner)
        words = options.words(emotions)
        self.labels: list[tuple[int, ...]] = [
            tuple(token_ids(tokenizer, f" {text.strip()}")) for text in words
        ]
        self._check_labels(words, unknown=tokenizer.unk_token_id)

    def _check_labels(self, words: list[str], unknown: int | None) -> None:
        for word, label in zip(words, self.labels, strict=True):
            if not label or unknown in label:
                raise UserError(
                    f"the language model's tokenizer cannot encode the label '{word}': give the emotion "
                    "other words (prompt.label_words)"
                )
        for (word, label), (other_word, other) in permutations(zip(words, self.labels, strict=True), 2):
            if other[: len(label)] == label:
                raise UserError(
                    f"the tokens of label '{word}' are a prefix of those of '{other_word}': give one of them "
                    "other words (prompt.label_words)"
                )

    def answer_tokens(self, answer: Answer) -> list[int]:
        """Return the tokens of an answer's label words, joined, and of its end.

        Raises UserError for an answer without emotions.
        """
        if not answer:
            raise UserError("an annotation has no emotion: give at least one")
        tokens = list(self.labels[answer[0]])
        for emotion in answer[1:]:
            tokens += [*self.joiner, *self.labels[emotion]]
        return tokens + self.template.end

    def encode(
        self, answers: Sequence[Answer], first_target: int = 0, end_targets: bool = True
    ) -> EncodedPrompt:
        """Encode clips, with one placeholder each, and their answers.

        The prompt ends where a next clip would begin. The label words, joiners and ends of all answers from
        `first_target` on are targets. The ends are included so that the model learns where an answer ends.
        Nothing else is a target. Without `end_targets` the ends are none either.
        """
        template = self.template
        start = len(template.start)
        prompt = EncodedPrompt(
            list(template.start), [TEXT] * start, [TEXT] * start, [TEXT] * start, [IGNORE] * start
        )
        for clip, answer in enumerate(answers):
            tokens = self.answer_tokens(answer)
            text = [*template.cue, *tokens, *template.following]
            targets = list(tokens) if clip >= first_target else [IGNORE] * len(tokens)
            if not end_targets:
                targets[-len(template.end) :] = [IGNORE] * len(template.end)
            prompt.token_ids.extend([0, *text])
            before, after = [TEXT] * (1 + len(template.cue)), [TEXT] * len(template.following)
            end = len(template.end)
            prompt.clips.extend([clip] + [TEXT] * len(text))
            prompt.answers.extend([*before, *[clip] * (len(tokens) - end), *[TEXT] * end, *after])
            prompt.ends.extend([*before, *[TEXT] * (len(tokens) - 1), clip, *after])
            prompt.targets.extend([IGNORE] * (1 + len(template.cue)))
            prompt.targets.extend(targets + [IGNORE] * len(template.following))
        return prompt


def collate(prompts: Sequence[EncodedPrompt]) -> PromptBatch:
    """Right-pad prompts into a batch and number their clips through, prompt by prompt."""
    shape = (len(prompts), max(len(prompt.token_ids) for prompt in prompts))
    token_ids = torch.zeros(shape, dtype=torch.int64)
    attention_mask = torch.zeros(shape, dtype=torch.int64)
    numbers = {name: torch.full(shape, TEXT) for name in ("clips", "answers", "ends")}
    targets = torch.full(shape, IGNORE)
    first_clip = 0
    for row, prompt in enumerate(prompts):
        length = len(prompt.token_ids)
        token_ids[row, :length] = torch.tensor(prompt.token_ids)
        targets[row, :length] = torch.tensor(prompt.targets)
        attention_mask[row, :length] = 1
        for name, batched in numbers.items():
            own = torch.tensor(getattr(prompt, name))
            batched[row, :length] = torch.where(own == TEXT, TEXT, own + first_clip)
        first_clip += max(prompt.clips, default=TEXT) + 1
    return PromptBatch(
        token_ids,
        **numbers,
        targets=targets,
        attention_mask=attention_mask,
        position_ids=positions(attention_mask),
    )


def positions(attention_mask: Tensor) -> Tensor:
    """Return position ids (B, T) that count only real tokens; padding on either side changes nothing."""
    return (attention_mask.cumsum(dim=1) - 1).clamp_min(0)


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer, for a model trained from scratch, of the words and line ends in `texts`."""
    splitter = PreTokenizers([Split(" ", behavior="removed"), Split("\n", behavior="isolated")])
    words = dict.fromkeys(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<unk>", *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = splitter
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
