"""The prompt: `[instruction] (<audio> label words <separator>)*`, as token ids, audio places and targets.

Pieces are tokenised one by one and joined as ids, so that a label has the same tokens wherever it stands:
while training, in the enrolment and where it is scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Sequence as PreTokenizers
from tokenizers.pre_tokenizers import Split
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from perser.errors import UserError
from perser.labels import EmotionSet

TEXT = -1
"""Stands in `clips` where a position is no audio."""
IGNORE = -100
"""Stands in `targets` where nothing is to be predicted."""

Answer = Sequence[int]
"""The emotions of one clip as class indices, in the order in which the prompt says them."""


@dataclass(frozen=True)
class PromptOptions:
    """How a prompt is worded.

    Args:
        instruction: Text before the first clip; empty for none.
        joiner: Between two emotions of one clip.
        separator: Ends each clip's label words.
        label_words: Words that stand for an emotion, as in `angry: very angry`; default is its name.
    """

    instruction: str = ""
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
        return [self.instruction, self.joiner, self.separator, *self.words(emotions)]


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
    """Writes prompts for one tokenizer and emotion set.

    Raises UserError when one emotion's tokens begin another's: their probabilities would overlap.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        emotions: EmotionSet,
        options: PromptOptions,
    ) -> None:
        self.emotions = emotions
        self.options = options

        def ids(text: str) -> list[int]:
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])

        # With special tokens: a model trained with a start token gets it.
        self.start: list[int] = list(tokenizer(options.instruction)["input_ids"])
        self.joiner = ids(options.joiner)
        self.separator = ids(options.separator)
        words = options.words(emotions)
        self.labels: list[tuple[int, ...]] = [tuple(ids(f" {text.strip()}")) for text in words]
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

    def encode(self, answers: Sequence[Answer]) -> EncodedPrompt:
        """Instruction, then each clip's one placeholder, label words and separator. The words, joiners and
        separators are targets: the separator teaches where an answer ends."""
        prompt = EncodedPrompt(list(self.start), [TEXT] * len(self.start), [IGNORE] * len(self.start))
        for clip, answer in enumerate(answers):
            if not answer:
                raise UserError("an annotation without any emotion: give at least one")
            tokens = list(self.labels[answer[0]])
            for emotion in answer[1:]:
                tokens += [*self.joiner, *self.labels[emotion]]
            tokens += self.separator
            prompt.token_ids.extend([0, *tokens])
            prompt.clips.extend([clip] + [TEXT] * len(tokens))
            prompt.targets.extend([IGNORE, *tokens])
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
    position_ids = (attention_mask.cumsum(dim=1) - 1).clamp_min(0)
    return PromptBatch(token_ids, clips, targets, attention_mask, position_ids)


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the words (and line ends) of `texts`: for a model trained from scratch."""
    splitter = PreTokenizers([Split(" ", behavior="removed"), Split("\n", behavior="isolated")])
    words = dict.fromkeys(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<unk>", *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = splitter
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
