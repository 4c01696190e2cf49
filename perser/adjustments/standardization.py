"""Standardize features by the clips of another corpus, or of one person, instead of the training corpus.

Recordings of another corpus differ from those of the training corpus in microphone, room and language, which
moves and stretches the features that a model reads. No label is needed to take that back: `corpus` uses the
mean and the standard deviation of all clips of the new corpus (of the person's own one, where several were
joined), `enrolled` those of the enrolled clips, together with the model's own, as a few clips say little.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from perser.corpora.listing import grouped_by_part, part_of
from perser.episodes.episode import Support
from perser.episodes.sampling import evenly_spaced
from perser.labels import EmotionSet
from perser.personalizer import Personalizer, Predictor, RouteContext

MOST_CLIPS = 8192
"""The most clips of a corpus that are used: all of a large one would not fit into memory."""

PRIOR_CLIPS = 8.0
"""How many enrolled clips the model's own standardization counts as much as."""


def standardized(personalizer: Personalizer, by: str, context: RouteContext) -> Personalizer:
    """Return a method whose features are standardized by other clips than those of the training.

    `by`: `corpus` or `enrolled`.
    """
    if by == "enrolled":
        return StandardizedByEnrolled(personalizer)
    utterances = context.recordings.utterance_ids
    if not context.parts:
        return Standardized(
            personalizer.standardized_by(evenly_spaced(utterances, MOST_CLIPS), 0.0), "corpus"
        )
    methods = {
        part: personalizer.standardized_by(evenly_spaced(clips, MOST_CLIPS), 0.0)
        for part, clips in grouped_by_part(context.parts, utterances).items()
    }
    return StandardizedByPart(methods)


class Standardized(Personalizer):
    """A method whose features are standardized by other clips, and that says so."""

    def __init__(self, base: Personalizer, by: str) -> None:
        self.route = base.route  # type: ignore[misc]
        self._base = base
        self._by = by

    def personalize(self, support: Support) -> Predictor:
        return self._for(support).personalize(support)

    def predict_support(self, support: Support) -> np.ndarray:
        return self._for(support).predict_support(support)

    def with_labels(self, labels: EmotionSet) -> Personalizer:
        return type(self)(self._base.with_labels(labels), self._by)

    def describe(self) -> dict[str, object]:
        return self._base.describe() | {"standardized by": self._by}

    def parameters(self) -> dict[str, int]:
        return self._base.parameters()

    def _for(self, support: Support) -> Personalizer:
        """Return the method that answers for the person of a support."""
        return self._base


class StandardizedByPart(Standardized):
    """A method whose features are standardized by the clips of the person's own corpus, of several that were
    joined.

    `methods`: the method as each corpus standardizes it, by the corpus's name.
    """

    def __init__(self, methods: Mapping[str, Personalizer], by: str = "corpus") -> None:
        super().__init__(next(iter(methods.values())), by)
        self._methods = methods

    def with_labels(self, labels: EmotionSet) -> Personalizer:
        return type(self)({name: own.with_labels(labels) for name, own in self._methods.items()}, self._by)

    def _for(self, support: Support) -> Personalizer:
        return self._methods[part_of(support.utterances[0])]


class StandardizedByEnrolled(Standardized):
    """A method whose features are standardized by each person's enrolled clips."""

    def __init__(self, base: Personalizer, by: str = "enrolled") -> None:
        super().__init__(base, by)

    def _for(self, support: Support) -> Personalizer:
        if not len(support):
            return self._base
        return self._base.standardized_by(support.utterances, PRIOR_CLIPS)
