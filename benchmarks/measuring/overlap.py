"""Experiments that measure some of their methods in the same setting, as those for a paper's tables do: every
method counts once there, as the experiment that is listed first has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.measuring.scores import Scores
from perser.errors import UserError


def join_twins(turns: Sequence[Scores]) -> list[Scores]:
    """The turns of one setting, of which several may test the same persons: the first of these has its
    methods, and those that only a later one measured on the same episodes.

    Raises UserError where a person is tested after two trainings, or a method would stand among others that
    were asked something else.
    """
    kept: list[Scores] = []
    for one in turns:
        place = next((at for at, first in enumerate(kept) if _persons(first) & _persons(one)), None)
        if place is None:
            kept.append(one)
            continue
        first = kept[place]
        known = {method.method for method in first.methods}
        added = tuple(method for method in one.methods if method.method not in known)
        apart = one.training_digest != first.training_digest or not _persons(one) <= _persons(first)
        if apart or (added and not (one.asked_digest and one.asked_digest == first.asked_digest)):
            raise UserError("a person is tested in two turns: their episodes would count twice")
        kept[place] = replace(first, methods=first.methods + added)
    return kept


def twin_notes(turns: Sequence[Scores]) -> list[str]:
    """Says which methods of a setting were measured more than once, and which figures count."""
    seen: set[tuple[str, str]] = set()
    twice: dict[str, None] = {}
    for one in turns:
        found = {(method.method, person) for method in one.methods for person in _persons(one)}
        twice |= dict.fromkeys(
            method.method
            for method in one.methods
            if any((method.method, person) in seen for person in _persons(one))
        )
        seen |= found
    if not twice:
        return []
    one = turns[0]
    where = f"{one.corpus}, {one.scenario}, {one.encoder or 'no encoder'}, K = {one.k}"
    methods = ", ".join(sorted(twice))
    return [f"Measured by more than one experiment, the first listed counts ({where}): {methods}."]


def _persons(scores: Scores) -> set[str]:
    return {episode.person for method in scores.methods for episode in method.episodes}
