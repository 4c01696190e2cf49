"""Emotion vocabularies: words to multi-hot targets and label distributions, and the rule from
probabilities back to labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perser.errors import UserError

Emotions = tuple[str, ...]
"""The emotions one listener gave one utterance: one or more words, without repeats."""


@dataclass(frozen=True)
class EmotionSet:
    """The ordered emotions that a corpus distinguishes; position is the class index everywhere."""

    names: Emotions

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise UserError(f"an emotion set needs at least two emotions, got {list(self.names)}")
        if len(set(self.names)) != len(self.names):
            raise UserError(f"an emotion set must not repeat an emotion, got {list(self.names)}")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, emotion: str) -> int:
        """Class index of a word. Raises UserError for a word outside the set."""
        try:
            return self.names.index(emotion)
        except ValueError:
            raise UserError(f"unknown emotion '{emotion}': this set has {', '.join(self.names)}") from None

    def multi_hot(self, labels: Sequence[Emotions]) -> np.ndarray:
        """Label sets as a 0/1 array, float32 of shape (num_utterances, num_emotions).

        Raises UserError for an unknown word or an empty set.
        """
        targets = np.zeros((len(labels), len(self)), dtype=np.float32)
        for row, emotions in zip(targets, labels, strict=True):
            if not emotions:
                raise UserError("an annotation without any emotion: give at least one")
            row[[self.index(emotion) for emotion in emotions]] = 1.0
        return targets

    def distribution(self, labels: Sequence[Emotions]) -> np.ndarray:
        """Each label set spread evenly over its emotions: float32 (num_utterances, num_emotions), rows
        sum to 1 (Meta-PerSER's label target; EMO-SUPERB)."""
        targets = self.multi_hot(labels)
        return targets / targets.sum(axis=1, keepdims=True)

    def words(self, multi_hot: np.ndarray) -> Emotions:
        """The emotions that one 0/1 row of shape (num_emotions,) marks; the inverse of `multi_hot`."""
        return tuple(name for name, on in zip(self.names, multi_hot, strict=True) if on)


def parse_emotions(text: str) -> Emotions:
    """Words from a user's cell, as in "Happy; excited": several between `;`, case and space forgiven.

    Repeats are dropped, order kept; an empty cell gives an empty tuple.
    """
    words = (re.sub(r"\s+", " ", word).strip().lower() for word in text.split(";"))
    return tuple(dict.fromkeys(word for word in words if word))


def decide(probabilities: np.ndarray) -> np.ndarray:
    """The one rule from probabilities to labels: emotion c is given iff p_c > 1/C, strictly.

    `probabilities`: (num_utterances, num_emotions); returns bool of the same shape
    (Meta-PerSER, section 3.3). The threshold is taken in the probabilities' own precision, so that a
    uniform row gives no label.
    """
    probabilities = np.asarray(probabilities)
    one = probabilities.dtype.type(1)
    return probabilities > one / probabilities.dtype.type(probabilities.shape[-1])
