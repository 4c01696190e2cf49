"""Tasks (everything of one person), episodes (support and query drawn from a task), and the file of
episodes that every method reads, so that all are measured on the same draws."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from perser.corpora.annotations import Annotations
from perser.corpora.listing import PersonAxis
from perser.errors import UserError
from perser.labels import Emotions, EmotionSet, decide

if TYPE_CHECKING:
    from perser.corpora.corpus import Corpus


@dataclass(frozen=True)
class Task:
    """Everything of one person: utterance ids and, aligned with them, the emotions heard in each."""

    person: str
    utterances: tuple[str, ...]
    emotions: tuple[Emotions, ...]

    def sample(self, count: int, rng: np.random.Generator) -> tuple[tuple[str, ...], tuple[Emotions, ...]]:
        """`count` different pairs in random order (all of them where there are fewer)."""
        return self.at(rng.permutation(len(self.utterances))[:count])

    def at(self, places: Iterable[int]) -> tuple[tuple[str, ...], tuple[Emotions, ...]]:
        """The pairs at these places."""
        chosen = list(places)
        return tuple(self.utterances[i] for i in chosen), tuple(self.emotions[i] for i in chosen)


@dataclass(frozen=True)
class Support:
    """K enrollment pairs of one person. Who it is stays unsaid: a method has the pairs and nothing else.

    `seed` is for methods that need chance, so that they too are the same every time.
    """

    utterances: tuple[str, ...]
    emotions: tuple[Emotions, ...]
    seed: int

    def __len__(self) -> int:
        return len(self.utterances)

    def ordered(self, places: Sequence[int] | np.ndarray) -> Support:
        """The pairs at these places, all or some, in this order."""
        return Support(
            tuple(self.utterances[one] for one in places),
            tuple(self.emotions[one] for one in places),
            self.seed,
        )

    def first(self, pairs: int) -> Support:
        """The first `pairs` of the enrollment. Raises UserError where there are fewer."""
        if pairs > len(self):
            raise UserError(f"{pairs} enrollment pairs asked for, but the support has {len(self)}: raise k")
        return Support(self.utterances[:pairs], self.emotions[:pairs], self.seed)


@dataclass(frozen=True)
class Question:
    """What a method is given of an episode: a support, and the utterances to answer about. Neither the person
    nor what they heard in these utterances is in it."""

    support: Support
    utterances: tuple[str, ...]


@dataclass(frozen=True)
class Episode:
    """One draw from one person's task: a support to learn from and a query to be measured on."""

    episode_id: str
    person: str
    seed: int
    support: Support
    query_utterances: tuple[str, ...]
    query_emotions: tuple[Emotions, ...]

    @property
    def question(self) -> Question:
        """The episode without what is to be found out."""
        return Question(self.support, self.query_utterances)


def tasks_of(corpus: Corpus, person_axis: PersonAxis) -> dict[str, Task]:
    """Every person's task. On the speaker axis an utterance has the labels that its listeners, averaged,
    put above 1/C; on the listener axis each listener's own."""
    if person_axis == "listener":
        own = Annotations.of(corpus.annotations).by_listener()
        return {person: Task(person, *of_person) for person, of_person in own.items()}
    pairs: dict[str, list[tuple[str, Emotions]]] = defaultdict(list)
    for utterance_id, emotions in aggregated_labels(corpus).items():
        pairs[corpus.utterances[utterance_id].speaker].append((utterance_id, emotions))
    return {
        person: Task(person, *map(tuple, zip(*sorted(of_person), strict=True)))
        for person, of_person in sorted(pairs.items())
    }


def aggregated_labels(corpus: Corpus) -> dict[str, Emotions]:
    """Utterance id to the emotions whose mean share over the listeners is above 1/C; where none is
    (all equal), those with the largest share."""
    names, shares = Annotations.of(corpus.annotations).shares(corpus.emotions)
    chosen = decide(shares)
    chosen = np.where(chosen.any(axis=1, keepdims=True), chosen, shares == shares.max(axis=1, keepdims=True))
    words: dict[bytes, Emotions] = {}
    for row in np.unique(chosen, axis=0):
        words[row.tobytes()] = corpus.emotions.words(row)
    return {name: words[row.tobytes()] for name, row in zip(names, chosen, strict=True)}


def aggregated_targets(tasks: Sequence[Task], emotions: EmotionSet) -> dict[str, np.ndarray]:
    """Utterance id to the mean over these persons of their label distributions, float32
    (num_emotions,): what SSL-E is trained on (Meta-PerSER 2.3.1)."""
    total: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(emotions), dtype=np.float32))
    count: dict[str, int] = defaultdict(int)
    for task in tasks:
        for utterance_id, row in zip(task.utterances, emotions.distribution(task.emotions), strict=True):
            total[utterance_id] += row
            count[utterance_id] += 1
    return {utterance_id: total[utterance_id] / count[utterance_id] for utterance_id in sorted(total)}


def restrict(task: Task, utterances: set[str]) -> Task:
    """The part of a task that lies on these utterances."""
    kept = [i for i, one in enumerate(task.utterances) if one in utterances]
    return Task(task.person, tuple(task.utterances[i] for i in kept), tuple(task.emotions[i] for i in kept))
