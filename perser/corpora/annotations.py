"""All annotations of a corpus, kept as arrays of whole numbers: two million take 24 MB, not a gigabyte, and
who labeled what is sorted in a second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np

from perser.corpora.listing import Annotation
from perser.labels import Emotions, EmotionSet

Pairs = tuple[tuple[str, ...], tuple[Emotions, ...]]
"""Utterance ids, sorted, and aligned with them the emotions that one listener heard in each."""


class Annotations(Sequence[Annotation]):
    """The annotations in their order, made one by one when they are asked for.

    Args:
        utterances: Names, sorted.
        listeners: Names.
        labels: Label sets.
        places: int32 (3, num_annotations): of each annotation its utterance, its listener and its label set,
            as places in these.
    """

    def __init__(
        self,
        utterances: Sequence[str],
        listeners: Sequence[str],
        labels: Sequence[Emotions],
        places: np.ndarray,
    ) -> None:
        self._utterances = utterances
        self._listeners = listeners
        self._labels = labels
        self._places = places

    @classmethod
    def of(cls, annotations: Sequence[Annotation]) -> Annotations:
        """The same as arrays."""
        if isinstance(annotations, Annotations):
            return annotations
        utterances = _numbered(sorted({one.utterance_id for one in annotations}))
        listeners = _numbered(sorted({one.listener for one in annotations}))
        labels = _numbered(dict.fromkeys(one.emotions for one in annotations))
        places = [
            (utterances[one.utterance_id], listeners[one.listener], labels[one.emotions])
            for one in annotations
        ]
        columns = np.array(places, dtype=np.int32).reshape(-1, 3).T
        return cls(list(utterances), list(listeners), list(labels), columns)

    def __len__(self) -> int:
        return self._places.shape[1]

    @overload
    def __getitem__(self, place: int) -> Annotation: ...
    @overload
    def __getitem__(self, place: slice) -> list[Annotation]: ...
    def __getitem__(self, place: int | slice) -> Annotation | list[Annotation]:
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        return self._annotation(*self._places[:, place].tolist())

    def __iter__(self) -> Iterator[Annotation]:
        return map(self._annotation, *self._places.tolist())

    def __eq__(self, other: object) -> bool:
        same_kind = isinstance(other, Sequence) and len(self) == len(other)
        return same_kind and all(one == its for one, its in zip(self, other, strict=True))

    __hash__ = None

    def _annotation(self, utterance: int, listener: int, label: int) -> Annotation:
        return Annotation(self._utterances[utterance], self._listeners[listener], self._labels[label])

    def by_listener(self) -> dict[str, Pairs]:
        """What each listener labeled, the listeners sorted by name."""
        utterances, listeners, labels = self._places
        order = np.lexsort((utterances, listeners))
        ends = np.cumsum(np.bincount(listeners, minlength=len(self._listeners))).tolist()
        names, sets = _objects(self._utterances), _objects(self._labels)
        found = {}
        for listener, (start, end) in enumerate(pairwise([0, *ends])):
            own = order[start:end]
            if len(own):
                pairs = (tuple(names[utterances[own]].tolist()), tuple(sets[labels[own]].tolist()))
                found[self._listeners[listener]] = pairs
        return dict(sorted(found.items()))

    def shares(self, emotions: EmotionSet) -> tuple[list[str], np.ndarray]:
        """The annotated utterances, sorted, and the mean over its listeners of each one's label
        distributions, float32 (num_utterances, num_emotions)."""
        utterances, _, labels = self._places
        heard = emotions.multi_hot(self._labels).astype(np.float64)
        heard /= heard.sum(axis=1, keepdims=True)
        counts = np.bincount(utterances, minlength=len(self._utterances))
        totals = [
            np.bincount(utterances, weights=column[labels], minlength=len(counts)) for column in heard.T
        ]
        (annotated,) = np.nonzero(counts)
        # Summed in double precision, so that equal shares are equal whatever they were summed from.
        means = np.stack(totals, axis=1)[annotated] / counts[annotated, None]
        return [self._utterances[place] for place in annotated.tolist()], means.astype(np.float32)


def _numbered(names: object) -> dict:
    return {name: place for place, name in enumerate(names)}


def _objects(items: Sequence[object]) -> np.ndarray:
    """(num_items,), whatever the items are: from tuples `np.array` would make a table."""
    return np.fromiter(items, dtype=object, count=len(items))
