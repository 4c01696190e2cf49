"""Turn emotion words into multi-hot targets and label distributions, and probabilities into labels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from perser.errors import UserError, unknown

Emotions = tuple[str, ...]
"""The emotions that one listener gave to one utterance: one or more words, without repeats."""


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


@lru_cache(maxsize=4096)
def parse_emotions(text: str) -> Emotions:
    """Return the words in a user's text such as "Happy; excited".

    Words are separated by `;` or `,`. Case, extra spaces and the Unicode form do not matter, repeats are
    dropped, order is kept. An empty text gives an empty tuple.
    """
    composed = unicodedata.normalize("NFC", text)
    words = (re.sub(r"\s+", " ", word).strip().lower() for word in re.split("[;,]", composed))
    return tuple(dict.fromkeys(word for word in words if word))


def decide(probabilities: np.ndarray) -> np.ndarray:
    """Return which emotions are given: emotion c if p_c > 1/C, strictly (Meta-PerSER, section 3.3).

    This is the only rule from probabilities to labels. `probabilities` has shape (num_utterances,
    num_emotions); the result is bool of the same shape. The threshold is computed in the probabilities' own
    precision, so that a uniform row gives no label.
    """
    probabilities = np.asarray(probabilities)
    number = probabilities.dtype.type
    return probabilities > number(1) / number(probabilities.shape[-1])
