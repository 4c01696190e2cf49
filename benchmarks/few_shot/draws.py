"""Draw what a person enrolls and what is asked: so many clips a class, or so many clips at random."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from perser.episodes.episode import Support, Task
from perser.episodes.open_episodes import made_up_words
from perser.labels import EmotionSet

Setting = Literal["shots", "pairs"]
"""What a number counts: enrolled clips of each class, or enrolled clips drawn at random."""

LabelWords = Literal["own", "permuted", "invented"]
"""Which words stand for the classes: the corpus's own, these in another order, or words that mean nothing."""


@dataclass(frozen=True)
class Draw:
    """What one person enrolls once, and what is asked.

    Args:
        person: The person's name.
        labels: The words to choose from.
        support: The enrolled clips under these words.
        queries: The clips to answer about.
        answers: The right word for each of them.
    """

    person: str
    labels: EmotionSet
    support: Support
    queries: tuple[str, ...]
    answers: tuple[str, ...]

    def accuracy(self, given: Sequence[str]) -> float:
        """Return the share of the given answers that are right."""
        return float(np.mean([word == right for word, right in zip(given, self.answers, strict=True)]))


@dataclass(frozen=True)
class Drawing:
    """How draws are made.

    Args:
        words: Which words stand for the classes.
        asked: Most clips that are asked about in a draw.
        seed: Of the draws.
    """

    words: LabelWords = "own"
    asked: int = 200
    seed: int = 0

    def draw(self, task: Task, setting: Setting, count: int, number: int) -> Draw | None:
        """Return draw `number` of a person, None where the person has too few clips or classes.

        A class with too few clips for a setting is not asked about in it. A larger enrollment of a setting
        begins with the clips of a smaller one.
        """
        rng = np.random.default_rng([self.seed, number, zlib.crc32(task.person.encode())])
        by_class: dict[str, list[str]] = defaultdict(list)
        for place in rng.permutation(len(task.utterances)):
            by_class[task.emotions[place][0]].append(task.utterances[place])
        if setting == "shots":
            by_class = {name: clips for name, clips in by_class.items() if len(clips) > count}
        classes = sorted(by_class)
        total = sum(map(len, by_class.values()))
        if len(classes) < 2 or (setting == "pairs" and total <= count):
            return None
        words = self._words(classes, rng)
        pairs = [(clip, name) for name in classes for clip in by_class[name]]
        if setting == "shots":
            enrolled = [(clip, name) for name in classes for clip in by_class[name][:count]]
            enrolled = [enrolled[place] for place in rng.permutation(len(enrolled))]
        else:
            enrolled = [pairs[place] for place in rng.permutation(len(pairs))[:count]]
        taken = {clip for clip, _ in enrolled}
        rest = [pair for pair in pairs if pair[0] not in taken]
        asked = [rest[place] for place in rng.permutation(len(rest))[: self.asked]]
        support = Support(
            tuple(clip for clip, _ in enrolled),
            tuple((words[name],) for _, name in enrolled),
            seed=int(rng.integers(2**31)),
        )
        return Draw(
            task.person,
            EmotionSet(tuple(sorted(words.values()))),  # an order that says nothing about the classes
            support,
            tuple(clip for clip, _ in asked),
            tuple(words[name] for _, name in asked),
        )

    def _words(self, classes: Sequence[str], rng: np.random.Generator) -> dict[str, str]:
        """Return the word that stands for each class."""
        if self.words == "own":
            return {name: name for name in classes}
        if self.words == "permuted":
            return dict(zip(classes, rng.permutation(classes).tolist(), strict=True))
        return dict(zip(classes, made_up_words(len(classes), rng), strict=True))


def shuffled(draw: Draw) -> Draw:
    """Return the draw with its labels shuffled among its enrolled clips."""
    support = draw.support
    order = np.random.default_rng(support.seed).permutation(len(support))
    return replace(draw, support=replace(support, emotions=support.ordered(order).emotions))


def single_label_tasks(tasks: Mapping[str, Task], emotions: Sequence[str]) -> tuple[list[Task], int]:
    """Return the tasks with the clips that have exactly one label, of these emotions, and how many clips were
    left out because they have several labels."""
    kept, several = [], 0
    for task in tasks.values():
        places = [i for i, words in enumerate(task.emotions) if len(words) == 1 and words[0] in emotions]
        several += sum(len(words) > 1 for words in task.emotions)
        if places:
            kept.append(Task(task.person, *task.at(places)))
    return kept, several
