"""Merge experiments that measured some of the same methods in the same setting.

The experiments for the paper's tables overlap in this way. A method counts once: the scores of the experiment
that is listed first are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.measuring.scores import Scores
from perser.errors import UserError


def merge_overlapping(folds: Sequence[Scores]) -> list[Scores]:
    """Return the folds of one setting, with those that test the same persons merged into one.

    The first of several such folds keeps its methods and gains those that only a later one measured.

    Raises UserError where a person is tested after two trainings, or where a method would be added that was
    not measured on the same episodes.
    """
    merged: list[Scores] = []
    for fold in folds:
        place = next((at for at, first in enumerate(merged) if _persons(first) & _persons(fold)), None)
        if place is None:
            merged.append(fold)
            continue
        first = merged[place]
        known = {method.method for method in first.methods}
        added = tuple(method for method in fold.methods if method.method not in known)
        same_training = fold.training_digest == first.training_digest and _persons(fold) <= _persons(first)
        same_episodes = fold.asked_digest and fold.asked_digest == first.asked_digest
        if not same_training or (added and not same_episodes):
            raise UserError("a person is tested in two folds: their episodes would count twice")
        merged[place] = replace(first, methods=first.methods + added)
    return merged


def overlap_notes(folds: Sequence[Scores]) -> list[str]:
    """Return a note on the methods of one setting that were measured more than once, if any."""
    seen: set[tuple[str, str]] = set()
    repeated: set[str] = set()
    for fold in folds:
        measured = {(method.method, person) for method in fold.methods for person in _persons(fold)}
        repeated |= {method for method, _ in measured & seen}
        seen |= measured
    if not repeated:
        return []
    fold = folds[0]
    where = f"{fold.corpus}, {fold.scenario}, {fold.encoder or 'no encoder'}, K = {fold.k}"
    methods = ", ".join(sorted(repeated))
    return [f"Measured by more than one experiment, the first listed counts ({where}): {methods}."]


def _persons(scores: Scores) -> set[str]:
    return {episode.person for method in scores.methods for episode in method.episodes}
