"""What all in-context methods share: which pairs of a support they read, and in which orders."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Self

import numpy as np

from perser.episodes.episode import Support
from perser.errors import UserError
from perser.labels import EmotionSet
from perser.personalizer import SUPPORT_PARTS, Personalizer
from speechlm_icl.projectors.base import Clips
from speechlm_icl.prompt.demonstrations import DemonstrationOptions, most_representative, similarities

PLAIN = DemonstrationOptions()


class InContextPersonalizer(Personalizer):
    """Personalizes by reading pairs of a support: the first `pairs` of them (all when None), or as `options`
    say."""

    def __init__(self, pairs: int | None, options: DemonstrationOptions) -> None:
        if pairs is not None and pairs < 0:
            raise UserError(f"{self.route} cannot read {pairs} enrollment pairs: give 0 or more")
        if options.chosen and pairs is None:
            raise UserError(
                f"{self.route}+chosen: say how many pairs are chosen, such as {self.route}-8+chosen"
            )
        self.pairs = pairs
        self.options = options

    @property
    @abstractmethod
    def emotions(self) -> EmotionSet:
        """What answers choose from."""

    @abstractmethod
    def features_of(self, utterances: Sequence[str]) -> Clips:
        """Return features by which clips are compared (`demonstrations.similarities`)."""

    @abstractmethod
    def reading(self, pairs: int) -> Self:
        """Return this method with another number of pairs."""

    @abstractmethod
    def worded(self, instruction: str | None, words: Mapping[str, str]) -> Self:
        """Return this method with another instruction (None: its own) and other words for the emotions.

        Raises UserError for words that its model cannot read.
        """

    def predict_support(self, support: Support) -> np.ndarray:
        """Return what the model says of a support's utterances that it has not read.

        Where it reads so many pairs that too few would be left, it reads all that are left.
        """
        if self.pairs == 0:
            return self.personalize(support).predict_proba(support.utterances)
        fewest = len(support) - -(-len(support) // SUPPORT_PARTS)
        if len(support) < 2 or self.pairs is None or self.pairs <= fewest:
            return super().predict_support(support)
        return self.reading(fewest).predict_support(support)

    def enrolled(self, support: Support) -> Support:
        """Return the pairs that are read. Raises UserError where the support has too few."""
        if self.pairs is None:
            return support
        if not self.options.chosen or not self.pairs:
            return support.first(self.pairs)
        support.first(self.pairs)  # refuses a support with too few
        similar = similarities(self.features_of(support.utterances))
        labels = self.emotions.multi_hot(support.emotions)
        return support.ordered(most_representative(similar, labels, self.pairs))

    def answers(self, support: Support) -> list[list[int]]:
        """Return the emotions of each pair, as class indices."""
        return self.emotions.indices(support.emotions)

    def describe(self) -> dict[str, object]:
        values, defaults = asdict(self.options), asdict(PLAIN)
        changed = {name: value for name, value in values.items() if value != defaults[name]}
        return {"pairs": "all" if self.pairs is None else self.pairs} | changed
