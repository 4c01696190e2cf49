"""What a training sequence asks: which emotions, under which words, and whose.

A sequence whose words do not have their own meaning can be answered from its pairs alone. So that a model
learns that for any labels, tasks vary in their number of labels, in their grain, and in who answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perser.episodes.episode import Task
from perser.labels import Emotions, EmotionSet

STYLE_BIAS, STYLE_NOISE, STYLE_SHARPNESS = 1.2, 0.5, (0.6, 1.6)
"""Of a drawn style, in logits: the largest standard deviation of its bias over the emotions, the scale of its
Gumbel noise, and the range of its sharpness."""
SWAPPED = 0.25
"""Share of the renamed sequences that swap the emotions' own words."""
MOST_OF_EACH = 5
"""Clips of each emotion at a balanced start."""
_LEAST_SHARE = 0.02
"""Added to the shares of the emotions, so that a style can hear what nobody heard."""


@dataclass(frozen=True)
class TaskShares:
    """Shares of the sequences that are made into other tasks. They are drawn independently of each other.

    Args:
        renamed: The words mean nothing, or another emotion, so that only the pairs say what a word means.
        subsets: Only 2 or more of the person's emotions occur.
        balanced: The first clips are 1 to MOST_OF_EACH of each emotion.
        merged: Of the renamed ones: two or more emotions have one word.
        other: Of the renamed ones: some emotions have no word. Clips of them come late, and are answered
            with the word for `other`.
        styles: A simulated person answers, whose style is drawn for this sequence.
    """

    renamed: float = 0.0
    subsets: float = 0.0
    balanced: float = 0.0
    merged: float = 0.0
    other: float = 0.0
    styles: float = 0.0


def draw_words(
    emotions: Sequence[str], drawable: Sequence[str], rng: np.random.Generator
) -> tuple[str, ...] | None:
    """Return words, one an emotion, from the drawable ones and the emotions' own; or None: swap the own ones.

    None is returned where nothing is drawable and for a quarter of the sequences. Without these, all own
    words together would always have their own meaning, and a model would trust it against the first pairs.
    Under swapped own words alone, a model learns nothing for hundreds of steps: where only some words are in
    use, it first learns to read which, and then which clip has which.
    """
    if not drawable or rng.random() < SWAPPED:
        return None
    pool = [*drawable, *(word for word in emotions if word not in drawable)]
    chosen = rng.choice(len(pool), size=len(emotions), replace=False)
    return tuple(pool[index] for index in chosen)


def num_heard(task: Task) -> int:
    """Return how many emotions occur in a task."""
    return len(set().union(*task.emotions))


def draw_subset(task: Task, rng: np.random.Generator, most: int | None = None) -> Task:
    """Return the pairs of a task that have only some of its emotions: 2 to all of them, equally likely, or to
    `most`."""
    heard = sorted(set().union(*task.emotions))
    if len(heard) <= 2:
        return task
    size = int(rng.integers(2, min(len(heard), most or len(heard)) + 1))
    kept = {heard[index] for index in rng.choice(len(heard), size=size, replace=False)}
    places = [index for index, words in enumerate(task.emotions) if kept.issuperset(words)]
    found = set().union(*(task.emotions[index] for index in places))
    return Task(task.person, *task.at(places)) if len(found) >= 2 else task


def balanced_start(labels: Sequence[Emotions], rng: np.random.Generator) -> np.ndarray:
    """Return an order of clips that begins with 1 to MOST_OF_EACH clips of each label, in random order.

    A label with fewer clips gives those that it has. The last clip, which is asked, stays last.
    """
    most = int(rng.integers(1, MOST_OF_EACH + 1))
    seen: Counter[Emotions] = Counter()
    first: list[int] = []
    rest: list[int] = []
    for place, label in enumerate(labels[:-1]):
        (first if seen[label] < most else rest).append(place)
        seen[label] += 1
    return np.concatenate([rng.permutation(first), rest, [len(labels) - 1]]).astype(np.int64)


def draw_groups(heard: Sequence[int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the class whose word each of `count` classes has: some that were heard share one; two remain."""
    groups = np.arange(count)
    if len(heard) > 2:
        size = int(rng.integers(2, len(heard)))
        members = rng.choice(heard, size=size, replace=False)
        groups[members] = members[0]
    return groups


def draw_unnamed(heard: Sequence[int], rng: np.random.Generator) -> set[int]:
    """Return classes that get no word: at least one, but two are left. None where there are only two."""
    if len(heard) < 3:
        return set()
    size = int(rng.integers(1, len(heard) - 1))
    return set(rng.choice(heard, size=size, replace=False).tolist())


def unnamed_last(unnamed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an order of clips in which those without a word (bool (n,)) come after a random point.

    The point is among the clips with a word, after at least half of them. Without it, `other` would soon be a
    label with examples like any.
    """
    named, rest = np.flatnonzero(~unnamed), np.flatnonzero(unnamed)
    before = int(rng.integers(len(named) // 2, len(named) + 1)) if len(named) else 0
    return np.concatenate([named[:before], rng.permutation(np.concatenate([named[before:], rest]))])


def draw_style(
    task: Task, shares: Mapping[str, np.ndarray], emotions: EmotionSet, rng: np.random.Generator
) -> Task:
    """Return a task in which a simulated person, drawn anew, answers about the same clips with one emotion.

    The person hears `sharpness * log(shares) + bias + noise`, where the shares are those of the training
    persons' answers.

    Args:
        task: Gives the clips.
        shares: How the training persons answered about each clip, (num_emotions,).
        emotions: The emotion set.
        rng: Draws the style.
    """
    logits = np.log(np.stack([shares[utterance] for utterance in task.utterances]) + _LEAST_SHARE)
    bias = rng.uniform(0, STYLE_BIAS) * rng.standard_normal(len(emotions))
    heard = rng.uniform(*STYLE_SHARPNESS) * logits + bias + STYLE_NOISE * rng.gumbel(size=logits.shape)
    answers: tuple[Emotions, ...] = tuple((emotions.names[index],) for index in heard.argmax(axis=1))
    return Task(task.person, task.utterances, answers)
