"""Turn emotion words into multi-hot targets and label distributions, and probabilities into labels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from perser.errors import UserError, unknown

Emotions = tuple[str, ...]
"""The emotions that one listener gave to one utterance: one or more words, without repeats."""

LONGEST_LABEL = 40
"""Characters of a label that a person makes up."""


@dataclass(frozen=True)
class EmotionSet:
    """The ordered emotions that a corpus distinguishes. Position is the class index everywhere."""

    names: Emotions

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise UserError(f"an emotion set needs at least two emotions, got {list(self.names)}")
        if len(set(self.names)) != len(self.names):
            raise UserError(f"an emotion set must not repeat an emotion, got {list(self.names)}")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, emotion: str) -> int:
        """Return the class index of a word. Raises UserError for a word that is not in the set."""
        try:
            return self.names.index(emotion)
        except ValueError:
            raise unknown("emotion", emotion, self.names) from None

    def indices(self, labels: Iterable[Emotions]) -> list[list[int]]:
        """Return the class indices of the words of each label. Raises UserError as `index` does."""
        return [[self.index(word) for word in words] for words in labels]

    def multi_hot(self, labels: Sequence[Emotions]) -> np.ndarray:
        """Return label sets as 0/1, float32 of shape (num_utterances, num_emotions).

        Raises UserError for an unknown word or an empty label set.
        """
        targets = np.zeros((len(labels), len(self)), dtype=np.float32)
        for row, emotions in zip(targets, labels, strict=True):
            if not emotions:
                raise UserError("an annotation without any emotion: give at least one")
            row[[self.index(emotion) for emotion in emotions]] = 1.0
        return targets

    def distribution(self, labels: Sequence[Emotions]) -> np.ndarray:
        """Return label sets as distributions, float32 of shape (num_utterances, num_emotions).

        Each set is spread evenly over its emotions, so rows sum to 1 (the label target of Meta-PerSER and
        EMO-SUPERB).
        """
        targets = self.multi_hot(labels)
        return targets / targets.sum(axis=1, keepdims=True)

    def words(self, multi_hot: np.ndarray) -> Emotions:
        """Return the emotions of one 0/1 row of shape (num_emotions,): the inverse of `multi_hot`."""
        return tuple(name for name, on in zip(self.names, multi_hot, strict=True) if on)


@dataclass(frozen=True, slots=True)
class LabeledFile:
    """A file, the words that label it, and where a person wrote that, for messages."""

    clip: Path
    emotions: Emotions
    place: str

    @property
    def pair(self) -> tuple[Path, Emotions]:
        """The file and its words, as `Recognizer.enroll` takes them."""
        return self.clip, self.emotions


@lru_cache(maxsize=4096)
def parse_emotions(text: str) -> Emotions:
    """Return the words in a user's text such as "Happy; excited".

    Words are separated by `;` or `,`. Case, extra spaces and the Unicode form do not matter, repeats are
    dropped, order is kept. An empty text gives an empty tuple.
    """
    composed = unicodedata.normalize("NFC", text)
    words = (re.sub(r"\s+", " ", word).strip().lower() for word in re.split("[;,]", composed))
    return tuple(dict.fromkeys(word for word in words if word))


def split_words(text: str) -> tuple[str, ...]:
    """Return the words in a user's text as they are written, for labels whose spelling is checked.

    Words are separated by `;` or `,`. Extra spaces and the Unicode form do not matter.
    """
    composed = unicodedata.normalize("NFC", text)
    words = (re.sub(r"\s+", " ", word).strip() for word in re.split("[;,]", composed))
    return tuple(word for word in words if word)


def open_labels(spelled: Iterable[str]) -> EmotionSet:
    """Return the labels that a person made up, in lower case, in the order in which they first occur.

    Args:
        spelled: The labels of all enrolled clips as they were written (`split_words`).

    Raises UserError for a label that is not one word or two, for one that is spelled in two ways, and for
    fewer than two labels.
    """
    labels = distinct_labels(spelled)
    if len(labels) < 2:
        only = f"only '{labels[0]}' is" if labels else "none is"
        raise UserError(
            f"labels of your own need at least two to choose from, and {only} given: label clips with another"
        )
    return EmotionSet(labels)


def distinct_labels(spelled: Iterable[str]) -> Emotions:
    """Return labels that a person made up, in lower case, each once. Raises UserError as `open_labels` does
    for a single label."""
    spellings: dict[str, str] = {}
    for text in spelled:
        check_open_label(text)
        first = spellings.setdefault(text.lower(), text)
        if first != text:
            raise UserError(
                f"the labels '{first}' and '{text}' differ only in capitals: spell them in one way"
            )
    return tuple(spellings)


def check_open_label(text: str) -> None:
    """Raise UserError for a label that is not one word or two, of letters."""
    words = text.split(" ")
    if len(text) > LONGEST_LABEL or len(words) > 2 or not all(map(_is_word, words)):
        shown = text if len(text) <= LONGEST_LABEL else f"{text[:LONGEST_LABEL]}..."
        raise UserError(f"'{shown}' cannot be a label: give one word or two, such as tired or very tired")


def _is_word(text: str) -> bool:
    """Return whether a text has letters of any alphabet, with hyphens and apostrophes between them alone."""
    parts = re.split("['\u2019-]", text)
    return all(part and all(unicodedata.category(letter)[0] in "LM" for letter in part) for part in parts)


def decide(probabilities: np.ndarray) -> np.ndarray:
    """Return which emotions are given: emotion c if p_c > 1/C, strictly (Meta-PerSER, section 3.3).

    This is the only rule from probabilities to labels. `probabilities` has shape (num_utterances,
    num_emotions); the result is bool of the same shape. The threshold is computed in the probabilities' own
    precision, so that a uniform row gives no label.
    """
    probabilities = np.asarray(probabilities)
    number = probabilities.dtype.type
    return probabilities > number(1) / number(probabilities.shape[-1])
