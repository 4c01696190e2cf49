"""Episodes whose labels nobody was trained on: a few classes, each under a word that means nothing.

In the scenario `open`, an episode has some of the person's emotions, or those that were held out of training,
and a made-up word for each. Only the support says what a word stands for. The episode keeps the emotions
themselves; a method gets the words.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Self

import numpy as np

from perser.episodes.episode import Episode, Support, Task

MADE_UP_WORDS = (
    *("blicket", "dax", "fep", "toma", "wug", "zup", "kiki", "modi", "pilk", "gazzer", "tulver", "sefton"),
    *("lorp", "vash", "nupe", "quib", "rundle", "tiv", "yort", "bim", "chark", "drell", "fendle", "gorm"),
    *("hask", "jink", "klem", "lutch", "mirp", "nadge", "osk", "plim"),
)
"""Words that mean nothing, such as psychologists teach to children."""

MOST_CLASSES = 8
"""Most classes of an episode."""

TRIES = 1_000
"""How many sets of classes are drawn until one has enough clips."""


def made_up_words(count: int, rng: np.random.Generator) -> list[str]:
    """Draw different words that mean nothing; two words for each label where there are not enough."""
    pool = list(MADE_UP_WORDS)
    if count > len(pool):
        pool += [" ".join(pair) for pair in permutations(MADE_UP_WORDS, 2)]
    return [pool[place] for place in rng.permutation(len(pool))[:count]]


@dataclass(frozen=True)
class OpenClasses:
    """The classes that an open episode of one person can have. Clips with several labels are not used.

    Args:
        counts: How many clips of each class the person has.
        required: The held-out emotions, all of which it has.
        free: The classes that may be added: none to two or more that are held out, which are told from each
            other, but at least one other to a single one.
        pairs: Clips that an episode needs.
        most: Most classes: the support has at least one clip of each.
    """

    counts: dict[str, int]
    required: tuple[str, ...]
    free: tuple[str, ...]
    pairs: int
    most: int

    @classmethod
    def of(cls, task: Task, k: int, pairs: int, held_out: Sequence[str]) -> Self:
        counts = Counter(words[0] for words in task.emotions if len(words) == 1)
        required = tuple(sorted(set(held_out)))
        free = () if len(required) > 1 else tuple(sorted(counts.keys() - set(required)))
        return cls(counts, required, free, pairs, min(k, MOST_CLASSES))

    @property
    def sizes(self) -> list[int]:
        """How many classes an episode can have; none where the person cannot have any."""
        if any(not self.counts.get(name) for name in self.required):
            return []
        largest = sorted((self.counts[name] for name in self.free), reverse=True)
        base = sum(self.counts[name] for name in self.required)
        fewest, most = max(2, len(self.required)), min(self.most, len(self.required) + len(self.free))
        added = {size: size - len(self.required) for size in range(fewest, most + 1)}
        return [size for size, count in added.items() if base + sum(largest[:count]) >= self.pairs]

    def draw(self, rng: np.random.Generator) -> list[str]:
        """Draw classes with enough clips.

        All numbers of classes are equally likely, and all sets of a number; where hardly any set has enough,
        it is the one with the most clips. Raises ValueError where none has.
        """
        if not self.sizes:
            raise ValueError(f"too few clips of two classes for {self.pairs} pairs")
        added = int(rng.choice(self.sizes)) - len(self.required)
        for _ in range(TRIES):
            classes = [*self.required, *rng.permutation(self.free)[:added].tolist()]
            if sum(self.counts[name] for name in classes) >= self.pairs:
                return classes
        return [*self.required, *sorted(self.free, key=self.counts.__getitem__, reverse=True)[:added]]

    @property
    def num_clips(self) -> int:
        """How many clips the person has of all classes that an episode can have."""
        return sum(self.counts.get(name, 0) for name in (*self.required, *self.free))


def draw_open_episode(task: Task, q: int, seed: int, k: int, most: int, possible: OpenClasses) -> Episode:
    """Draw classes, words for them, and K support and Q query pairs.

    The support has each class at least once. Raises ValueError where the person has too few clips.

    Args:
        task: The person's clips.
        q: Pairs in the query.
        seed: Of the draw, which depends on the person too.
        k: Pairs in the support.
        most: The largest K that results are compared with (`perser.episodes.draw.draw_episode`).
        possible: The classes that the person has enough clips of.
    """
    stream = zlib.crc32(f"open {task.person}".encode())
    rng = np.random.default_rng([seed, stream])
    classes = possible.draw(rng)
    order = [
        place
        for place in rng.permutation(len(task.utterances))
        if len(task.emotions[place]) == 1 and task.emotions[place][0] in classes
    ]
    firsts = [next(place for place in order if task.emotions[place][0] == name) for name in classes]
    firsts = [firsts[place] for place in rng.permutation(len(firsts))]
    order = [*firsts, *(place for place in order if place not in firsts)]
    query = rng.permutation(order[most:])[:q]
    utterances, emotions = task.at(order[:k])
    query_utterances, query_emotions = task.at(query)
    return Episode(
        episode_id=f"{task.person}/{seed}",
        person=task.person,
        seed=seed,
        support=Support(utterances, emotions, seed=(stream + seed) % 2**31),
        query_utterances=query_utterances,
        query_emotions=query_emotions,
        words=tuple(zip(classes, made_up_words(len(classes), rng), strict=True)),
    )


def without_emotions(task: Task, held_out: Sequence[str]) -> Task:
    """Return the pairs of a task that have none of these emotions."""
    kept = [place for place, words in enumerate(task.emotions) if not set(words) & set(held_out)]
    utterances, emotions = task.at(kept)
    return replace(task, utterances=utterances, emotions=emotions)
