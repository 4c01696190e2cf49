"""A task is everything of one person; an episode is a support and a query drawn from a task.

Here are both, and the tasks of a corpus on each person axis.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from perser.corpora.annotations import Annotations
from perser.corpora.listing import PersonAxis, is_unknown_listener
from perser.errors import UserError
from perser.labels import Emotions, EmotionSet

if TYPE_CHECKING:
    from perser.corpora.corpus import Corpus


@dataclass(frozen=True)
class Task:
    """Everything of one person: utterance ids, and the emotions of each utterance."""

    person: str
    utterances: tuple[str, ...]
    emotions: tuple[Emotions, ...]

    def sample(self, count: int, rng: np.random.Generator) -> tuple[tuple[str, ...], tuple[Emotions, ...]]:
        """Return `count` different pairs in random order, or all pairs if there are fewer."""
        return self.at(rng.permutation(len(self.utterances))[:count])

    def at(self, indices: Iterable[int]) -> tuple[tuple[str, ...], tuple[Emotions, ...]]:
        """Return the pairs at these indices: utterance ids and their emotions."""
        chosen = list(indices)
        return tuple(self.utterances[i] for i in chosen), tuple(self.emotions[i] for i in chosen)


@dataclass(frozen=True)
class Support:
    """K enrollment pairs of one person, who is not named: a method has the pairs and nothing else.

    `seed` is for methods that draw random numbers, so that they give the same result every time.
    """

    utterances: tuple[str, ...]
    emotions: tuple[Emotions, ...]
    seed: int

    def __len__(self) -> int:
        return len(self.utterances)

    def ordered(self, indices: Sequence[int] | np.ndarray) -> Support:
        """Return the pairs at these indices (all of them or some), in this order."""
        return Support(
            tuple(self.utterances[i] for i in indices), tuple(self.emotions[i] for i in indices), self.seed
        )

    def first(self, pairs: int) -> Support:
        """Return the first `pairs` pairs. Raises UserError if there are fewer."""
        if pairs > len(self):
            raise UserError(f"{pairs} enrollment pairs asked for, but the support has {len(self)}: raise k")
        return Support(self.utterances[:pairs], self.emotions[:pairs], self.seed)


@dataclass(frozen=True)
class Question:
    """What a method gets of an episode: the support, and the utterances to predict.

    It holds neither the person nor the labels of these utterances. `labels` are the words to choose from
    where these are not the emotions of the corpus.
    """

    support: Support
    utterances: tuple[str, ...]
    labels: Emotions = ()


@dataclass(frozen=True)
class Episode:
    """One draw from one person's task: a support to adapt to, and a query to be measured on.

    `words` are the classes of an open episode, each with the word that a method gets in its place
    (`perser.episodes.open_episodes`); it is empty in the other scenarios.
    """

    episode_id: str
    person: str
    seed: int
    support: Support
    query_utterances: tuple[str, ...]
    query_emotions: tuple[Emotions, ...]
    words: tuple[tuple[str, str], ...] = ()

    @property
    def question(self) -> Question:
        """The episode without the person and the query's labels."""
        if not self.words:
            return Question(self.support, self.query_utterances)
        words = dict(self.words)
        said = tuple(tuple(words[emotion] for emotion in emotions) for emotions in self.support.emotions)
        support = replace(self.support, emotions=said)
        return Question(support, self.query_utterances, tuple(sorted(words.values())))

    def columns(self, emotions: EmotionSet) -> list[int]:
        """Return the class indices of the emotions to choose from, in the order of the question's labels."""
        if not self.words:
            return list(range(len(emotions)))
        return [emotions.index(emotion) for emotion, word in sorted(self.words, key=lambda pair: pair[1])]

    def as_json(self) -> dict[str, Any]:
        """Return the fields, without `words` where there are none, as earlier versions wrote them."""
        content = asdict(self)
        if not self.words:
            del content["words"]
        return content


def tasks_of(corpus: Corpus, person_axis: PersonAxis) -> dict[str, Task]:
    """Return every person's task, by name.

    On the listener axis the labels are each listener's own, and listeners that are not known are left out
    (UserError if all are). On the speaker axis they are `aggregated_labels`.
    """
    if person_axis == "listener":
        by_listener = Annotations.of(corpus.annotations).by_listener()
        known = {name: pairs for name, pairs in by_listener.items() if not is_unknown_listener(name)}
        if not known:
            raise UserError(
                f"{corpus.folder} does not say who labeled what, so nobody can be a person there: "
                "give --split.scenario speaker, or prepare it with other --listeners"
            )
        return {person: Task(person, *pairs) for person, pairs in known.items()}
    by_speaker: dict[str, list[tuple[str, Emotions]]] = defaultdict(list)
    for utterance_id, emotions in aggregated_labels(corpus).items():
        by_speaker[corpus.utterances[utterance_id].speaker].append((utterance_id, emotions))
    return {
        person: Task(person, *map(tuple, zip(*sorted(pairs), strict=True)))
        for person, pairs in sorted(by_speaker.items())
    }


def aggregated_labels(corpus: Corpus) -> dict[str, Emotions]:
    """Return, by utterance id, the emotions whose mean share over the listeners is above 1/C.

    If no share is above 1/C (all are equal), these are the emotions with the largest share.
    """
    return Annotations.of(corpus.annotations).aggregated(corpus.emotions)


def aggregated_targets(tasks: Sequence[Task], emotions: EmotionSet) -> dict[str, np.ndarray]:
    """Return, by utterance id, the mean over persons of their label distributions, float32 (num_emotions,).

    SSL-E is trained on these (Meta-PerSER, section 2.3.1).
    """
    total: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(emotions), dtype=np.float32))
    count: dict[str, int] = defaultdict(int)
    for task in tasks:
        for utterance_id, row in zip(task.utterances, emotions.distribution(task.emotions), strict=True):
            total[utterance_id] += row
            count[utterance_id] += 1
    return {utterance_id: total[utterance_id] / count[utterance_id] for utterance_id in sorted(total)}


def restrict(task: Task, utterances: set[str]) -> Task:
    """Return the pairs of a task whose utterances are among these."""
    return Task(task.person, *task.at(i for i, name in enumerate(task.utterances) if name in utterances))
