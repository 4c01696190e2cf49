"""Meta-training sequences: one person's clips and answers in random order.

The model predicts every answer from the pairs before it, so that one sequence teaches every number of
enrollment pairs at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from perser.episodes.episode import Task, aggregated_targets
from perser.episodes.sampling import MODES, EnrollmentMode, draw_pairs
from perser.labels import Emotions, EmotionSet
from speechlm_icl.prompt.prompt import Answer
from speechlm_icl.training.task_drawing import (
    TaskShares,
    balanced_start,
    draw_groups,
    draw_style,
    draw_subset,
    draw_unnamed,
    draw_words,
    num_heard,
    unnamed_last,
)

_FIRST = 1
"""Added to the seeds of clips that are asked with no pair before them."""

PLAIN = TaskShares()
"""The emotions under their own words."""


@dataclass(frozen=True)
class PairSequence:
    """N + 1 clips of one person with their answers; the last is the query.

    Args:
        utterances: the clips.
        answers: the answer to each, as indices of `words`.
        person: whose they are.
        words: the label words; None for those of the emotions.
        renamed: whether the words do not have their own meaning.
    """

    utterances: tuple[str, ...]
    answers: list[Answer]
    person: str | None = None
    words: tuple[str, ...] | None = None
    renamed: bool = False


class SequenceSampler:
    """Draws sequences. What is drawn depends on the seeds alone.

    Args:
        tasks: persons to draw from.
        emotions: gives the class indices of the answers.
        pairs: N, the enrollment pairs before the last clip; fewer where a person has fewer.
        uniform: whether to draw every sequence's number of pairs uniformly from 0 to N.
        restricted: share of the sequences whose enrollment has only some of the person's emotions.
        missing: share of the sequences whose enrollment has none of the last clip's emotions.
        shares: shares of the sequences that ask something else than the emotions under their own words.
        drawable: words that renamed sequences may use besides the emotions' own.
        other: word for a clip that has none of the labels in use.
        most_labels: most emotions of a sequence; None: any number.
        weights: how likely each person is to be drawn; None: all equally.
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
        shares: TaskShares = PLAIN,
        drawable: Sequence[str] = (),
        other: str = "other",
        most_labels: int | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        self.tasks = list(tasks)
        self.emotions = emotions
        self.pairs = pairs
        self.uniform = uniform
        self.modes = (1 - restricted - missing, restricted, missing)
        self.shares = shares
        self.drawable = drawable
        self.other = other
        self.most_labels = most_labels
        self.weights = weights
        self._heard = aggregated_targets(tasks, emotions) if shares.styles else {}

    def draw(self, count: int, *seeds: int, renamed: float | None = None) -> list[PairSequence]:
        """Return `count` sequences of persons drawn at random.

        `renamed` replaces the share of that name.
        """
        rng = np.random.default_rng(seeds)
        shares = self.shares if renamed is None else replace(self.shares, renamed=renamed)
        return [self._sequence(task, rng, shares) for task in self._persons(count, rng)]

    def draw_first(self, count: int, *seeds: int) -> list[PairSequence]:
        """Return `count` clips of persons drawn at random, with no pair before them, under the own words."""
        rng = np.random.default_rng((*seeds, _FIRST))
        return [self._own(*task.sample(1, rng), task.person, rng) for task in self._persons(count, rng)]

    def _persons(self, count: int, rng: np.random.Generator) -> list[Task]:
        """Draw `count` persons, each as likely as `weights` say."""
        if self.weights is None:
            drawn = rng.integers(len(self.tasks), size=count)
        else:
            drawn = rng.choice(len(self.tasks), size=count, p=self.weights)
        return [self.tasks[person] for person in drawn]

    def draw_each(self, count: int, *seeds: int) -> list[PairSequence]:
        """Return `count` sequences that go through the persons in turn."""
        rng = np.random.default_rng(seeds)
        return [
            self._sequence(self.tasks[index % len(self.tasks)], rng, self.shares) for index in range(count)
        ]

    def _sequence(self, task: Task, rng: np.random.Generator, shares: TaskShares) -> PairSequence:
        pairs = int(rng.integers(self.pairs + 1)) if self.uniform else self.pairs
        mode = MODES[rng.choice(len(MODES), p=self.modes)]
        if _happens(shares.styles, rng):
            task = draw_style(task, self._heard, self.emotions, rng)
        too_many = self.most_labels is not None and num_heard(task) > self.most_labels
        if _happens(shares.subsets, rng) or too_many:
            task = draw_subset(task, rng, self.most_labels)
        utterances, labels = _pairs_of(task, pairs, mode, rng)
        if _happens(shares.balanced, rng):
            order = balanced_start(labels, rng)
            utterances, labels = tuple(utterances[i] for i in order), tuple(labels[i] for i in order)
        renamed = rng.random() < shares.renamed
        sequence = self._own(utterances, labels, task.person, rng)
        return self._renamed(sequence, rng, shares) if renamed else sequence

    def _own(
        self,
        utterances: tuple[str, ...],
        labels: Sequence[Emotions],
        person: str | None,
        rng: np.random.Generator,
    ) -> PairSequence:
        """Return a sequence under the emotions' own words. Several emotions of a clip are in random order."""
        answers = [
            rng.permutation([self.emotions.index(word) for word in words]).tolist() for words in labels
        ]
        return PairSequence(utterances, answers, person)

    def _renamed(self, sequence: PairSequence, rng: np.random.Generator, shares: TaskShares) -> PairSequence:
        """Return a sequence with words that mean nothing, or another emotion."""
        own = self.emotions.names
        words = draw_words(own, self.drawable, rng)
        classes = np.arange(len(own))
        if words is None:
            rng.shuffle(classes)
        heard = sorted(set().union(*sequence.answers))
        if _happens(shares.merged, rng):
            classes = classes[draw_groups(heard, len(own), rng)]
        answers: list[Answer] = [list(dict.fromkeys(classes[answer].tolist())) for answer in sequence.answers]
        if not _happens(shares.other, rng):
            return replace(sequence, answers=answers, words=words, renamed=True)
        unnamed = draw_unnamed(sorted(set().union(*answers)), rng)
        lacks_word = np.array([not unnamed.isdisjoint(answer) for answer in answers])
        order = unnamed_last(lacks_word, rng)
        return PairSequence(
            tuple(sequence.utterances[index] for index in order),
            [[len(own)] if lacks_word[index] else answers[index] for index in order],
            sequence.person,
            (*(own if words is None else words), self.other),
            renamed=True,
        )


def _happens(share: float, rng: np.random.Generator) -> bool:
    """Draw whether something happens that has this share; a share of 0 draws nothing."""
    return share > 0 and rng.random() < share


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
) -> Sequence[Sequence[PairSequence]]:
    """Split the sequences into `parts` parts of about equal size, with similar lengths together: little
    padding.

    `length` gives the tokens that a sequence takes in the prompt.
    """
    ordered = sorted(sequences, key=length)
    cuts = [len(ordered) * part // parts for part in range(parts + 1)]
    return [ordered[start:end] for start, end in pairwise(cuts)]
