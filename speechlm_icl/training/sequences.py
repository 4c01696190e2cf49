"""Meta-training sequences: one person's clips and answers in random order.

The model predicts every answer from the pairs before it, so that one sequence teaches every number of
enrollment pairs at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from perser.episodes.episode import Task
from perser.episodes.sampling import MODES, EnrollmentMode, draw_pairs
from perser.labels import Emotions, EmotionSet
from speechlm_icl.prompt.prompt import Answer


@dataclass(frozen=True)
class PairSequence:
    """N + 1 clips of one person with their answers; the last is the query."""

    utterances: tuple[str, ...]
    answers: list[Answer]
    person: str | None = None


class SequenceSampler:
    """Draws sequences. What is drawn depends on the seeds alone.

    Args:
        tasks: persons to draw from.
        emotions: gives the class indices of the answers.
        pairs: N, the enrollment pairs before the last clip; fewer where a person has fewer.
        uniform: whether to draw every sequence's number of pairs uniformly from 0 to N.
        restricted: share of the sequences whose enrollment has only some of the person's emotions.
        missing: share of the sequences whose enrollment has none of the last clip's emotions.
        permute_labels: share of the sequences in which the emotions swap their words at random, so that only
            the pairs before it tell what a word means.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        emotions: EmotionSet,
        pairs: int,
        *,
        uniform: bool = False,
        restricted: float = 0.0,
        missing: float = 0.0,
        permute_labels: float = 0.0,
    ) -> None:
        self.tasks = list(tasks)
        self.emotions = emotions
        self.pairs = pairs
        self.uniform = uniform
        self.shares = (1 - restricted - missing, restricted, missing)
        self.permute_labels = permute_labels

    def draw(self, count: int, *seeds: int) -> list[PairSequence]:
        """Return `count` sequences of persons drawn at random, each as likely as any other."""
        rng = np.random.default_rng(seeds)
        return [
            self._sequence(self.tasks[person], rng) for person in rng.integers(len(self.tasks), size=count)
        ]

    def draw_each(self, count: int, *seeds: int) -> list[PairSequence]:
        """Return `count` sequences that go through the persons in turn."""
        rng = np.random.default_rng(seeds)
        return [self._sequence(self.tasks[index % len(self.tasks)], rng) for index in range(count)]

    def _sequence(self, task: Task, rng: np.random.Generator) -> PairSequence:
        pairs = int(rng.integers(self.pairs + 1)) if self.uniform else self.pairs
        mode = MODES[rng.choice(len(MODES), p=self.shares)]
        utterances, labels = _pairs_of(task, pairs, mode, rng)
        classes = np.arange(len(self.emotions))
        if rng.random() < self.permute_labels:
            rng.shuffle(classes)
        answers = [self._answer(words, classes, rng) for words in labels]
        return PairSequence(utterances, answers, task.person)

    def _answer(self, words: Emotions, classes: np.ndarray, rng: np.random.Generator) -> Answer:
        """Return class indices in random order, so that each emotion given is equally often the first."""
        answer = classes[[self.emotions.index(word) for word in words]]
        return rng.permutation(answer).tolist()


def _pairs_of(
    task: Task, pairs: int, mode: EnrollmentMode, rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[Emotions, ...]]:
    """Return the enrollment and, last, the query.

    Where a person has too few pairs for the mode, the enrollment is halved until it fits. Where no enrollment
    fits (the person has one emotion), it is of mode `any`.
    """
    enrolled = 0 if mode == "any" else pairs
    while enrolled:
        drawn = draw_pairs(task.emotions, enrolled, 1, mode, rng)
        if drawn is not None:
            return task.at(np.concatenate(drawn))
        enrolled //= 2
    return task.sample(pairs + 1, rng)


def by_length(
    sequences: Sequence[PairSequence], parts: int, length: Callable[[PairSequence], int]
) -> list[list[PairSequence]]:
    """Split the sequences into `parts` parts of about equal size, with similar lengths together: little
    padding.

    `length` gives the tokens that a sequence takes in the prompt.
    """
    ordered = sorted(sequences, key=length)
    cuts = [len(ordered) * part // parts for part in range(parts + 1)]
    return [ordered[start:end] for start, end in pairwise(cuts)]
