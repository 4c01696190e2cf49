"""Hold all annotations of a corpus as integer arrays.

Two million annotations take 24 MB instead of a gigabyte, and are grouped by listener in a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar, overload

import numpy as np

from perser.corpora.listing import Annotation
from perser.labels import Emotions, EmotionSet, decide

Pairs = tuple[tuple[str, ...], tuple[Emotions, ...]]
"""The sorted ids of the utterances that one listener labeled, and the emotions that they gave to each."""

T = TypeVar("T")


class Annotations(Sequence[Annotation]):
    """A sequence of annotations. Each `Annotation` is made when it is read.

    Args:
        utterances: Utterance ids, sorted.
        listeners: The listeners' names.
        labels: The different label sets.
        indices: int32 (3, num_annotations): for each annotation, its utterance, its listener and its label
            set, as indices into the three lists above.
    """

    def __init__(
        self,
        utterances: Sequence[str],
        listeners: Sequence[str],
        labels: Sequence[Emotions],
        indices: np.ndarray,
    ) -> None:
        self._utterances = utterances
        self._listeners = listeners
        self._labels = labels
        self._indices = indices

    @classmethod
    def of(cls, annotations: Sequence[Annotation]) -> Annotations:
        """Return these annotations as arrays."""
        if isinstance(annotations, Annotations):
            return annotations
        utterances = _numbered(sorted({annotation.utterance_id for annotation in annotations}))
        listeners = _numbered(sorted({annotation.listener for annotation in annotations}))
        labels = _numbered(dict.fromkeys(annotation.emotions for annotation in annotations))
        rows = [
            (
                utterances[annotation.utterance_id],
                listeners[annotation.listener],
                labels[annotation.emotions],
            )
            for annotation in annotations
        ]
        columns = np.array(rows, dtype=np.int32).reshape(-1, 3).T
        return cls(list(utterances), list(listeners), list(labels), columns)

    def __len__(self) -> int:
        return self._indices.shape[1]

    @overload
    def __getitem__(self, index: int) -> Annotation: ...
    @overload
    def __getitem__(self, index: slice) -> list[Annotation]: ...
    def __getitem__(self, index: int | slice) -> Annotation | list[Annotation]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        return self._annotation(*self._indices[:, index].tolist())

    def __iter__(self) -> Iterator[Annotation]:
        return map(self._annotation, *self._indices.tolist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(own == theirs for own, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as Python's own lists have it, which typeshed ignores, too

    def _annotation(self, utterance: int, listener: int, label: int) -> Annotation:
        return Annotation(self._utterances[utterance], self._listeners[listener], self._labels[label])

    def by_listener(self) -> dict[str, Pairs]:
        """Return what each listener labeled, with the listeners sorted by name."""
        utterances, listeners, labels = self._indices
        order = np.lexsort((utterances, listeners))
        ends = np.cumsum(np.bincount(listeners, minlength=len(self._listeners))).tolist()
        names, sets = _objects(self._utterances), _objects(self._labels)
        pairs: dict[str, Pairs] = {}
        for listener, (start, end) in enumerate(pairwise([0, *ends])):
            own = order[start:end]
            if len(own):
                labeled = (tuple(names[utterances[own]].tolist()), tuple(sets[labels[own]].tolist()))
                pairs[self._listeners[listener]] = labeled
        return dict(sorted(pairs.items()))

    def shares(self, emotions: EmotionSet) -> tuple[list[str], np.ndarray]:
        """Return the annotated utterances, sorted, and the share of each emotion in each utterance.

        Shares are the mean over the utterance's listeners of their label distributions, float32
        (num_utterances, num_emotions).
        """
        utterances, _, labels = self._indices
        distributions = emotions.multi_hot(self._labels).astype(np.float64)
        distributions /= distributions.sum(axis=1, keepdims=True)
        counts = np.bincount(utterances, minlength=len(self._utterances))
        totals = [
            np.bincount(utterances, weights=column[labels], minlength=len(counts))
            for column in distributions.T
        ]
        (annotated,) = np.nonzero(counts)
        # In double precision, so that equal shares come out equal from any number of listeners.
        means = np.stack(totals, axis=1)[annotated] / counts[annotated, None]
        return [self._utterances[index] for index in annotated.tolist()], means.astype(np.float32)

    def aggregated(self, emotions: EmotionSet) -> dict[str, Emotions]:
        """Return, by utterance id, the emotions whose mean share over the listeners is above 1/C.

        If no share is above 1/C (all are equal), these are the emotions with the largest share.
        """
        names, shares = self.shares(emotions)
        chosen = decide(shares)
        largest = shares == shares.max(axis=1, keepdims=True)
        chosen = np.where(chosen.any(axis=1, keepdims=True), chosen, largest)
        words: dict[bytes, Emotions] = {}
        for row in np.unique(chosen, axis=0):
            words[row.tobytes()] = emotions.words(row)
        return {name: words[row.tobytes()] for name, row in zip(names, chosen, strict=True)}


def _numbered(names: Iterable[T]) -> dict[T, int]:
    return {name: number for number, name in enumerate(names)}


def _objects(items: Sequence[object]) -> np.ndarray:
    """Return an array of objects, (num_items,). `np.array` would make a table of tuples."""
    return np.fromiter(items, dtype=object, count=len(items))
