"""Split the persons and utterances of a corpus into training, validation and test, by scenario and fold."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from perser.corpora.listing import PersonAxis
from perser.errors import UserError

Scenario = Literal["seen", "unseen", "speaker", "open", "test-listeners", "test-speakers", "test-open"]

OPEN: tuple[Scenario, ...] = ("open", "test-open")
"""The scenarios of open episodes (`perser.episodes.open_episodes`)."""

Subset = Literal["train", "validation", "test"]

SUBSETS: tuple[Subset, ...] = get_args(Subset)

DEFAULT_VALIDATION_GROUPS = 3


@dataclass(frozen=True)
class SplitOptions:
    """How persons and utterances are divided.

    Args:
        scenario: `seen`: test listeners are new, their utterances may be in training (Meta-PerSER 3.2.1).
            `unseen`: test utterances are new too (3.2.2). `speaker`: the person is the speaker, so a new
            person brings new utterances. `open`: as speaker, but each episode has some classes only, under
            words that mean nothing. `test-listeners`, `test-speakers`: a test set for models that were
            trained on another corpus: all listeners, or speakers, are tested, and no one is trained on.
            `test-open`: as test-speakers, in open episodes.
        folds: number of folds. The persons are cut into this many groups, and each fold tests one group.
        fold: which fold this is, from 0.
        validation_persons: how many persons of the next group choose checkpoints and learning rates.
        held_out_by: `unseen` only: the property of utterances by which training and test are kept apart.
        held_out: `unseen` only: the values of that property that are tested (IEMOCAP: ["5"]); none: this
            fold's.
        validation_groups: `unseen` only: how many more values are kept for the validation persons; 0: they
            are validated on training utterances; none: 0 with `held_out`, otherwise 3.
        held_out_emotions: `open` only: the emotions that no one is trained on and that the episodes are
            about; none: episodes have any classes.
        eligible: persons who may be in validation or test, the others are only trained on; none: all.
        excluded: persons whose data is not used at all; none: no one.
        seed: seed of the shuffle before persons are cut into folds.
    """

    scenario: Scenario = "unseen"
    folds: int = 4
    fold: int = 0
    validation_persons: int = 8
    held_out_by: Literal["speaker", "session"] = "speaker"
    held_out: list[str] | None = None
    validation_groups: int | None = None
    held_out_emotions: list[str] | None = None
    eligible: list[str] | None = None
    excluded: list[str] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"folds: {self.folds} leaves no one to train on, give at least 2")
        if not 0 <= self.fold < self.folds:
            raise ValueError(f"fold: {self.fold} is not between 0 and folds - 1 = {self.folds - 1}")
        if self.validation_persons < 1:
            raise ValueError(f"validation_persons: {self.validation_persons}, give at least 1")
        if self.validation_groups is not None and self.validation_groups < 0:
            raise ValueError(f"validation_groups: {self.validation_groups} is negative")
        if both := sorted(set(self.eligible or ()) & set(self.excluded or ())):
            raise ValueError(f"excluded: {both[0]!r} is eligible too")
        if self.scenario != "unseen" and self.held_out is not None:
            raise ValueError(f"held_out needs scenario: unseen, not {self.scenario}")
        if self.scenario != "open" and self.held_out_emotions:
            raise ValueError(f"held_out_emotions needs scenario: open, not {self.scenario}")

    @property
    def person_axis(self) -> PersonAxis:
        return "speaker" if self.is_open or self.scenario in ("speaker", "test-speakers") else "listener"

    @property
    def is_test_set(self) -> bool:
        """Whether everyone is tested and no one is trained on."""
        return self.scenario in ("test-listeners", "test-speakers", "test-open")

    @property
    def is_open(self) -> bool:
        """Whether the labels of its episodes are words that nobody was trained on."""
        return self.scenario in OPEN


@dataclass(frozen=True)
class Split:
    """The persons and utterances of each subset, sorted. `person_axis` says what a person is."""

    person_axis: PersonAxis
    persons: dict[Subset, list[str]] = field(default_factory=dict)
    utterances: dict[Subset, list[str]] = field(default_factory=dict)


def split_corpus(
    options: SplitOptions,
    persons: Iterable[str],
    utterance_groups: dict[str, str],
    speakers: dict[str, str],
) -> Split:
    """Divide persons and utterances.

    Args:
        options: How to divide them.
        persons: The persons on the person axis.
        utterance_groups: The value of the property `held_out_by`, by utterance id.
        speakers: The speaker, by utterance id.

    Raises UserError if a subset would be empty.
    """
    test, validation, train = _split_persons(options, sorted(set(persons)))
    chosen: dict[Subset, list[str]] = {"train": train, "validation": validation, "test": test}
    everything = sorted(utterance_groups)
    if options.is_test_set:
        utterances: dict[Subset, list[str]] = {"train": [], "validation": [], "test": everything}
    elif options.scenario == "seen":
        utterances = dict.fromkeys(SUBSETS, everything)
    elif options.scenario in ("speaker", "open"):
        speakers_of = {subset: set(names) for subset, names in chosen.items()}
        utterances = {
            subset: [name for name in everything if speakers[name] in speakers_of[subset]]
            for subset in SUBSETS
        }
    else:
        utterances = _split_utterances(options, utterance_groups)
    return Split(options.person_axis, chosen, utterances)


def _split_persons(options: SplitOptions, persons: list[str]) -> tuple[list[str], list[str], list[str]]:
    for name in ("eligible", "excluded"):
        unknown = sorted(set(getattr(options, name) or ()) - set(persons))
        if unknown:
            raise UserError(f"{name}: no {options.person_axis} {unknown[0]!r} in this corpus")
    excluded = set(options.excluded or ())
    persons = [person for person in persons if person not in excluded]
    candidates = persons if options.eligible is None else sorted(options.eligible)
    if options.is_test_set:
        if not candidates:
            raise UserError(f"no {options.person_axis} is left to test")
        return candidates, [], []
    groups = _shuffled_groups(candidates, options, what=f"{options.person_axis}s")
    test = groups[options.fold]
    validation = groups[(options.fold + 1) % options.folds][: options.validation_persons]
    not_trained = {*test, *validation}
    train = [person for person in persons if person not in not_trained]
    if not train:
        raise UserError(f"no {options.person_axis} is left to train on: raise folds above {options.folds}")
    return sorted(test), sorted(validation), train


def _split_utterances(options: SplitOptions, groups: dict[str, str]) -> dict[Subset, list[str]]:
    names = sorted(set(groups.values()))
    if options.held_out is None:
        folds = _shuffled_groups(names, options, what=f"{options.held_out_by}s")
        test = set(folds[options.fold])
        following = folds[(options.fold + 1) % options.folds]
    else:
        test = set(options.held_out)
        unknown = sorted(test - set(names))
        if unknown:
            raise UserError(f"held_out: no {options.held_out_by} {unknown[0]!r} in this corpus")
        following = [name for name in names if name not in test]
    wanted = options.validation_groups
    if wanted is None:
        wanted = 0 if options.held_out is not None else DEFAULT_VALIDATION_GROUPS
    validation = set(following[:wanted])
    if len(validation) < wanted:
        raise UserError(
            f"validation_groups: {wanted} asked for, but only {len(validation)} "
            f"{options.held_out_by}s can be kept apart: lower it"
        )
    train = set(names) - test - validation
    if not train:
        raise UserError(f"no {options.held_out_by} is left to train on: hold out fewer")
    values = {"train": train, "validation": validation or train, "test": test}
    return {
        subset: sorted(name for name, group in groups.items() if group in values[subset])
        for subset in SUBSETS
    }


def _shuffled_groups(names: Sequence[str], options: SplitOptions, what: str) -> list[list[str]]:
    """Shuffle the names and deal them into one group per fold."""
    if len(names) < options.folds:
        raise UserError(f"folds: {options.folds} folds of {len(names)} {what}: lower it")
    shuffled = list(names)
    random.Random(options.seed).shuffle(shuffled)
    return [shuffled[fold :: options.folds] for fold in range(options.folds)]
