"""Find a split, a K and a Q that a corpus is large enough for: the default of a small one, and what an error
suggests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from perser.corpora.listing import INTENDED
from perser.episodes.episode import Task, restrict, tasks_of
from perser.episodes.open_episodes import without_emotions
from perser.episodes.sampling import EnrollmentMode, draw_pairs
from perser.episodes.splits import Scenario, Split, SplitOptions, Subset, split_corpus
from perser.errors import UserError

if TYPE_CHECKING:
    from perser.corpora.corpus import Corpus

PAIRS = (
    *((32, 128), (32, 64), (16, 64), (16, 32), (8, 32), (8, 16), (4, 16)),
    *((4, 8), (2, 8), (2, 4), (1, 4), (1, 2), (1, 1)),
)
"""K and Q to choose from, the largest first."""

TO_TRAIN = tuple(pair for pair in PAIRS if pair >= (4, 8))
"""Those for which a small corpus is divided for training; with fewer it is only tested."""


@dataclass(frozen=True)
class Choice:
    """A split, a K and a Q."""

    split: SplitOptions
    k: int
    q: int

    def options_unlike(self, other: Choice) -> str:
        """Return the options of `perser episodes` in which this choice differs from another one."""
        names = ("scenario", "folds", "fold", "held_out", "validation_groups", "held_out_emotions")
        values = {f"split.{name}": (getattr(self.split, name), getattr(other.split, name)) for name in names}
        values |= {"k": (self.k, other.k), "q": (self.q, other.q)}
        return " ".join(
            f"--{name} {'null' if own is None else own}"
            for name, (own, others) in values.items()
            if own != others
        )


USUAL = Choice(SplitOptions(), 32, 128)
"""What is drawn where nothing else is asked for."""


def divide_tasks(
    corpus: Corpus, split: SplitOptions, tasks: dict[str, Task]
) -> tuple[Split, dict[Subset, list[Task]]]:
    """Divide persons and utterances, and return the tasks of each subset, restricted to its utterances.

    Raises UserError if a subset would be empty.
    """
    rows = corpus.utterances
    divided = split_corpus(
        split,
        tasks,
        {name: getattr(row, split.held_out_by) for name, row in rows.items()},
        {name: row.speaker for name, row in rows.items()},
    )
    if split.held_out_emotions:
        divided = _without_emotions(divided, tasks, split.held_out_emotions)
    own: dict[Subset, list[Task]] = {}
    for subset in ("test", "validation"):
        allowed = set(divided.utterances[subset])
        own[subset] = [restrict(tasks[person], allowed) for person in divided.persons[subset]]
    return divided, own


def _without_emotions(divided: Split, tasks: dict[str, Task], held_out: Sequence[str]) -> Split:
    """Return the split without utterances of these emotions in training and validation.

    Raises UserError where nothing is left to train on.
    """
    kept = {name for task in tasks.values() for name in without_emotions(task, held_out).utterances}
    utterances = divided.utterances | {
        subset: [name for name in divided.utterances[subset] if name in kept]
        for subset in ("train", "validation")
    }
    if not utterances["train"]:
        raise UserError(f"held_out_emotions: {', '.join(held_out)} leave nothing to train on: hold out fewer")
    return replace(divided, utterances=utterances)


def has_enough(task: Task, k: int, q: int, mode: EnrollmentMode) -> bool:
    """Return whether episodes of K and Q can be drawn from the task. It does not depend on the seed."""
    return draw_pairs(task.emotions, k, q, mode, np.random.default_rng(0)) is not None


class Fitting:
    """What fits a corpus, for one mode of enrollment."""

    def __init__(self, corpus: Corpus, mode: EnrollmentMode, largest_k: int | None = None) -> None:
        self._corpus = corpus
        self._mode = mode
        self._largest_k = largest_k
        self._tasks = cache(lambda axis: tasks_of(corpus, axis))

    def default(self) -> Choice | None:
        """Return the choice for a user who gives no options: the usual split with K = 32 and Q = 128 or less;
        where that leaves too little, everyone is tested and no one is trained on. None where nothing fits."""
        if self._first(USUAL.split, [(USUAL.k, USUAL.q)], share=0):
            return USUAL
        acted = all(row.listener == INTENDED for row in self._corpus.annotations)
        split = SplitOptions(scenario="speaker") if acted else USUAL.split
        return self._first(split, TO_TRAIN) or self._first(_test_set(split), PAIRS)

    def to_train(self) -> Choice | None:
        """Return the nearest choice to the usual one in which some are trained on; None where none fits."""
        found = (self._first(split, TO_TRAIN) for split in _smaller_splits(USUAL.split))
        return next(filter(None, found), None)

    def nearest(self, wanted: Choice) -> Choice | None:
        """Return the nearest choice to one that does not fit: the scenario is kept if possible."""
        smaller = [
            (wanted.k, wanted.q),
            *((k, q) for k, q in PAIRS if k <= wanted.k and q <= wanted.q),
        ]
        to_train = [smaller[0], *(pair for pair in smaller[1:] if pair in TO_TRAIN)]
        found = (self._first(split, to_train) for split in _smaller_splits(wanted.split))
        return next(filter(None, found), None) or self._first(_test_set(wanted.split), smaller)

    def _first(
        self, split: SplitOptions, pairs: Sequence[tuple[int, int]], share: float = 0.5
    ) -> Choice | None:
        """Return the first of the pairs that fits, with the split; None where none does."""
        try:
            _, tasks = divide_tasks(self._corpus, split, self._tasks(split.person_axis))
        except UserError:
            return None
        return next((Choice(split, k, q) for k, q in pairs if self._fits(tasks, k, q, share)), None)

    def _fits(self, tasks: dict[Subset, list[Task]], k: int, q: int, share: float) -> bool:
        """Return whether this share of the test persons, and one in each subset that is not empty, have
        enough."""
        most = max(k, self._largest_k or k)

        def enough(subset: Subset) -> int:
            return sum(has_enough(task, most, q, self._mode) for task in tasks[subset])

        return enough("test") >= max(share * len(tasks["test"]), 1) and (
            not tasks["validation"] or enough("validation") > 0
        )


def _smaller_splits(split: SplitOptions) -> Iterator[SplitOptions]:
    """Yield a split and others that need fewer persons, speakers or sessions, the nearest first."""
    if split.is_test_set:
        return
    scenarios = dict.fromkeys((split.scenario, "seen" if split.scenario == "unseen" else split.scenario))
    for scenario in scenarios:
        groups = (split.validation_groups, 2, 1, 0) if scenario == "unseen" else (split.validation_groups,)
        for folds in range(split.folds, 1, -1):
            for wanted in dict.fromkeys(groups):
                yield replace(
                    split,
                    scenario=scenario,
                    folds=folds,
                    fold=min(split.fold, folds - 1),
                    held_out=split.held_out if scenario == "unseen" else None,
                    validation_groups=wanted,
                )


def _test_set(split: SplitOptions) -> SplitOptions:
    scenario: Scenario = "test-listeners" if split.person_axis == "listener" else "test-speakers"
    return replace(split, scenario=scenario, held_out=None, held_out_emotions=None)
