"""TODO(reorg): docstring."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from perser.episodes.episode import Episode, Support, Task, restrict, tasks_of
from perser.episodes.episode_file import EpisodeFile
from perser.episodes.sampling import MODES, EnrollmentMode, draw_pairs
from perser.episodes.splits import Part, SplitOptions, split_corpus
from perser.errors import UserError

if TYPE_CHECKING:
    from perser.corpora.corpus import Corpus


def draw_episode(
    task: Task, k: int, q: int, seed: int, largest_k: int | None = None, mode: EnrollmentMode = "any"
) -> Episode:
    """K support and Q query pairs of one task, disjoint; the draw depends on person and seed alone.

    With one `largest_k`, episodes of every K up to it have the same query, and the smaller support is the
    larger one's beginning. Raises ValueError if the task has too few pairs for the mode.
    """
    most = k if largest_k is None else largest_k
    stream = zlib.crc32(task.person.encode())
    drawn = draw_pairs(task.emotions, most, q, mode, np.random.default_rng([seed, stream]))
    if drawn is None:
        had = f"{task.person} has {len(task.utterances)} annotations"
        raise ValueError(f"{had}, too few for {most} + {q} in mode '{mode}'")
    enrolled, asked = drawn
    utterances, emotions = task.at(enrolled[:k])
    query_utterances, query_emotions = task.at(asked)
    return Episode(
        episode_id=f"{task.person}/{seed}",
        person=task.person,
        seed=seed,
        support=Support(utterances, emotions, seed=(stream + seed) % 2**31),
        query_utterances=query_utterances,
        query_emotions=query_emotions,
    )


def has_enough(task: Task, k: int, q: int, mode: EnrollmentMode) -> bool:
    """Whether episodes of K and Q can be drawn from the task: this depends on no seed."""
    return draw_pairs(task.emotions, k, q, mode, np.random.default_rng(0)) is not None


def check_counts(counts: Mapping[str, int]) -> None:
    """Raises UserError that names the first of these counts that is below 1."""
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{name}: {count}, give at least 1")


def draw_episodes(
    corpus: Corpus,
    split: SplitOptions,
    k: int,
    q: int,
    seeds: int,
    largest_k: int | None = None,
    validation_seeds: int = 1,
    mode: EnrollmentMode = "any",
) -> EpisodeFile:
    """Split the corpus and draw `seeds` episodes of every test person and `validation_seeds` of every
    validation person. Persons with too few annotations for K + Q (the largest K's, see `draw_episode`) in
    this mode are left out by name.

    Raises UserError if a count is below 1, the mode is unknown, or nobody is left.
    """
    check_counts({"k": k, "q": q, "seeds": seeds, "validation_seeds": validation_seeds})
    if mode not in MODES:
        raise UserError(f"mode: '{mode}' is none of {', '.join(MODES)}")
    most = k if largest_k is None else largest_k
    if most < k:
        raise UserError(f"largest_k: {most} is below k = {k}")
    tasks = tasks_of(corpus, split.person_axis)
    rows = corpus.utterances
    divided = split_corpus(
        split,
        tasks,
        {one: getattr(row, split.held_out_by) for one, row in rows.items()},
        {one: row.speaker for one, row in rows.items()},
    )
    left_out: dict[str, int] = {}
    drawn: dict[Part, tuple[Episode, ...]] = {}
    for part, draws in (("test", seeds), ("validation", validation_seeds)):
        allowed = set(divided.utterances[part])
        own = [restrict(tasks[person], allowed) for person in divided.persons[part]]
        left_out |= {task.person: len(task.utterances) for task in own if not has_enough(task, most, q, mode)}
        drawn[part] = tuple(
            draw_episode(task, k, q, seed, most, mode)
            for task in own
            if task.person not in left_out
            for seed in range(draws)
        )
        if not drawn[part]:
            largest = max(len(task.utterances) for task in own)
            needed = f"K + Q = {most} + {q}" + ("" if mode == "any" else f" in mode '{mode}'")
            raise UserError(
                f"{needed} is more than any {part} {split.person_axis} has "
                f"(the most is {largest} annotations): lower k or q"
            )
    return EpisodeFile(
        corpus=corpus.name,
        corpus_fingerprint=corpus.fingerprint,
        emotions=corpus.emotions.names,
        scenario=split.scenario,
        person_axis=split.person_axis,
        k=k,
        q=q,
        split=divided,
        episodes=drawn["test"],
        validation_episodes=drawn["validation"],
        left_out=left_out,
        mode=mode,
    )
