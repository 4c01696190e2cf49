"""The answers of a corpus as arrays: who heard what in which utterance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from perser.corpora.annotations import Annotations
from perser.corpora.listing import Annotation, is_unknown_listener
from perser.errors import UserError
from perser.labels import EmotionSet


@dataclass(frozen=True)
class Answers:
    """Every answer to an utterance that at least two listeners answered. C is the number of emotions."""

    emotions: tuple[str, ...]
    listeners: tuple[str, ...]
    """The listeners' names. Those that are not known are among them (`is_unknown_listener`)."""
    utterance: np.ndarray
    """int64 (num_answers,): the number of the utterance, from 0."""
    listener: np.ndarray
    """int64 (num_answers,): the place of the listener in `listeners`."""
    labels: np.ndarray
    """bool (num_answers, C): the emotions that were given."""

    @classmethod
    def of(cls, annotations: Sequence[Annotation], emotions: EmotionSet, where: str) -> Answers:
        """Return the answers that can be compared with somebody else's.

        Raises UserError, which names the corpus as `where` does, for fewer than two listeners, for no
        utterance that two listeners answered, and where all give the same answer.
        """
        by_listener = Annotations.of(annotations).by_listener()
        names = tuple(by_listener)
        if len(names) < 2:
            raise UserError(
                f"{where} has fewer than two listeners ({', '.join(names) or 'none'}): "
                "agreement needs answers of at least two"
            )
        ids = sorted({name for named, _ in by_listener.values() for name in named})
        numbers = {name: place for place, name in enumerate(ids)}
        utterance = np.array([numbers[name] for named, _ in by_listener.values() for name in named])
        listener = np.repeat(np.arange(len(names)), [len(named) for named, _ in by_listener.values()])
        labels = emotions.multi_hot([words for _, sets in by_listener.values() for words in sets]) > 0
        shared = np.bincount(utterance)[utterance] >= 2
        if not shared.any():
            raise UserError(
                f"{where} has no utterance that two listeners labeled: agreement needs shared utterances"
            )
        utterance, listener, labels = utterance[shared], listener[shared], labels[shared]
        if (labels == labels[0]).all():
            given = "; ".join(emotions.words(labels[0]))
            raise UserError(
                f"{where} has one label only: every answer to a shared utterance is '{given}', "
                "so there is nothing to agree or to differ on"
            )
        return cls(emotions.names, names, np.unique(utterance, return_inverse=True)[1], listener, labels)

    @property
    def num_utterances(self) -> int:
        return int(self.utterance.max()) + 1

    @property
    def is_multi_label(self) -> bool:
        """Whether any answer has several emotions."""
        return bool((self.labels.sum(axis=1) > 1).any())

    @cached_property
    def distributions(self) -> np.ndarray:
        """Each answer spread evenly over its emotions, float64 (num_answers, C)."""
        return self.labels / self.labels.sum(axis=1, keepdims=True)

    @cached_property
    def votes(self) -> np.ndarray:
        """The sum of the distributions of each utterance's answers, float64 (num_utterances, C)."""
        votes = np.zeros((self.num_utterances, len(self.emotions)))
        np.add.at(votes, self.utterance, self.distributions)
        return votes

    @cached_property
    def is_known(self) -> np.ndarray:
        """Whether each listener is known, bool (num_listeners,)."""
        return np.array([not is_unknown_listener(name) for name in self.listeners])
