"""Who and what is trained on, validated on and tested on: the scenarios and their folds."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from perser.corpora.listing import PersonAxis
from perser.errors import UserError

Scenario = Literal["seen", "unseen", "speaker"]

Part = Literal["train", "validation", "test"]

DEFAULT_VALIDATION_GROUPS = 3

PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class SplitOptions:
    """How persons and utterances are divided.

    Args:
        scenario: `seen`: test listeners are new, utterances may recur (Meta-PerSER 3.2.1). `unseen`: no
            utterance of the test is met in training either (3.2.2). `speaker`: the person is the
            speaker, so a new person brings new utterances.
        folds: into how many parts the persons are cut; each fold tests one part.
        fold: which part is tested, from 0.
        validation_persons: how many persons of the next part choose checkpoints and rates.
        held_out_by: `unseen` only: the property of utterances by which they are kept apart.
        held_out: `unseen` only: the values kept for the test (IEMOCAP: ["5"]); none: this fold's part.
        validation_groups: `unseen` only: how many more values are kept apart for the validation persons;
            0: they are heard on training utterances; none: 0 with `held_out`, else 3.
        eligible: persons who may be tested or validated on, the others only train; none: everybody.
        excluded: persons of whom nothing is used at all; none: nobody.
        seed: of the shuffle before cutting.
    """

    scenario: Scenario = "unseen"
    folds: int = 4
    fold: int = 0
    validation_persons: int = 8
    held_out_by: Literal["speaker", "session"] = "speaker"
    held_out: list[str] | None = None
    validation_groups: int | None = None
    eligible: list[str] | None = None
    excluded: list[str] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"folds: {self.folds} leaves nobody to train on, give at least 2")
        if not 0 <= self.fold < self.folds:
            raise ValueError(f"fold: {self.fold} is not between 0 and folds - 1 = {self.folds - 1}")
        if self.validation_persons < 1:
            raise ValueError(f"validation_persons: {self.validation_persons}, give at least 1")
        if self.validation_groups is not None and self.validation_groups < 0:
            raise ValueError(f"validation_groups: {self.validation_groups} is negative")
        if twice := sorted(set(self.eligible or ()) & set(self.excluded or ())):
            raise ValueError(f"excluded: {twice[0]!r} is eligible too")
        if self.scenario != "unseen" and self.held_out is not None:
            raise ValueError(f"held_out goes with scenario: unseen, not {self.scenario}")

    @property
    def person_axis(self) -> PersonAxis:
        return "speaker" if self.scenario == "speaker" else "listener"


@dataclass(frozen=True)
class Split:
    """Persons and utterances of each part, sorted; `person_axis` says what a person is."""

    person_axis: PersonAxis
    persons: dict[Part, list[str]] = field(default_factory=dict)
    utterances: dict[Part, list[str]] = field(default_factory=dict)


def split_corpus(
    options: SplitOptions,
    persons: Iterable[str],
    utterance_groups: dict[str, str],
    speakers: dict[str, str],
) -> Split:
    """Divide persons and utterances as `options` say.

    `utterance_groups` maps utterance id to its `held_out_by` value, `speakers` to its speaker.
    Raises UserError where a part would be empty.
    """
    test, validation, train = _split_persons(options, sorted(set(persons)))
    chosen: dict[Part, list[str]] = {"train": train, "validation": validation, "test": test}
    everything = sorted(utterance_groups)
    if options.scenario == "seen":
        utterances: dict[Part, list[str]] = dict.fromkeys(PARTS, everything)
    elif options.scenario == "speaker":
        speakers_of = {part: set(persons) for part, persons in chosen.items()}
        utterances = {
            part: [one for one in everything if speakers[one] in speakers_of[part]] for part in PARTS
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
    parts = _shuffled_parts(candidates, options, what=f"{options.person_axis}s")
    test = parts[options.fold]
    validation = parts[(options.fold + 1) % options.folds][: options.validation_persons]
    apart = {*test, *validation}
    train = [person for person in persons if person not in apart]
    if not train:
        raise UserError(f"no {options.person_axis} is left to train on: raise folds above {options.folds}")
    return sorted(test), sorted(validation), train


def _split_utterances(options: SplitOptions, groups: dict[str, str]) -> dict[Part, list[str]]:
    names = sorted(set(groups.values()))
    if options.held_out is None:
        parts = _shuffled_parts(names, options, what=f"{options.held_out_by}s")
        test = set(parts[options.fold])
        following = parts[(options.fold + 1) % options.folds]
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
    return {part: sorted(one for one, group in groups.items() if group in values[part]) for part in PARTS}


def _shuffled_parts(names: Sequence[str], options: SplitOptions, what: str) -> list[list[str]]:
    if len(names) < options.folds:
        raise UserError(f"folds: {options.folds} parts of {len(names)} {what}: lower it")
    shuffled = list(names)
    random.Random(options.seed).shuffle(shuffled)
    return [shuffled[part :: options.folds] for part in range(options.folds)]
