"""Draw episodes: one from a task, or those of all test and validation persons of a corpus."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from perser.episodes.episode import Episode, Support, Task, tasks_of
from perser.episodes.episode_file import EpisodeFile
from perser.episodes.fitting import Choice, Fitting, divide_tasks, has_enough
from perser.episodes.open_episodes import OpenClasses, draw_open_episode
from perser.episodes.sampling import MODES, EnrollmentMode, draw_pairs
from perser.episodes.splits import Split, SplitOptions, Subset
from perser.errors import UserError
from perser.io.terminal import counted

if TYPE_CHECKING:
    from perser.corpora.corpus import Corpus


def draw_episode(
    task: Task, k: int, q: int, seed: int, largest_k: int | None = None, mode: EnrollmentMode = "any"
) -> Episode:
    """Draw K support and Q query pairs from one task. The draw depends on the person and the seed alone.

    With the same `largest_k`, episodes of every K up to it have the same query, and a smaller support is the
    beginning of a larger one. Raises ValueError if the task has too few pairs for the mode.
    """
    most = k if largest_k is None else largest_k
    stream = zlib.crc32(task.person.encode())
    drawn = draw_pairs(task.emotions, most, q, mode, np.random.default_rng([seed, stream]))
    if drawn is None:
        available = f"{task.person} has {counted(len(task.utterances), 'annotation')}"
        raise ValueError(f"{available}, too few for {most} + {q} in mode '{mode}'")
    support, query = drawn
    utterances, emotions = task.at(support[:k])
    query_utterances, query_emotions = task.at(query)
    return Episode(
        episode_id=f"{task.person}/{seed}",
        person=task.person,
        seed=seed,
        support=Support(utterances, emotions, seed=(stream + seed) % 2**31),
        query_utterances=query_utterances,
        query_emotions=query_emotions,
    )


def check_counts(counts: Mapping[str, int]) -> None:
    """Raise UserError if one of these counts is below 1, with its name."""
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
    """Split a corpus and draw the episodes of its test and validation persons.

    Persons with too few annotations for K + Q in this mode are left out by name.

    Args:
        split: How persons and utterances are divided.
        k, q: Pairs in a support and in a query.
        seeds: Episodes of each test person.
        largest_k: The largest K that results will be compared with, K if None (see `draw_episode`).
        validation_seeds: Episodes of each validation person.
        mode: Which emotions supports may lack.

    Raises UserError if a count is below 1, the mode is unknown, or no person is left. Where the corpus is
    too small for these options, the message says which ones work.
    """
    check_counts({"k": k, "q": q, "seeds": seeds, "validation_seeds": validation_seeds})
    _check(corpus, split, mode)
    most = k if largest_k is None else largest_k
    if most < k:
        raise UserError(f"largest_k: {most} is below k = {k}")
    divided, tasks = _divided(corpus, Choice(split, k, q), largest_k, mode)
    draws: dict[Subset, int] = {"test": seeds, "validation": validation_seeds}
    drawn, left_out = _drawn(tasks, draws, k, q, most, split, mode)
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


def _drawn(
    tasks: dict[Subset, list[Task]],
    draws: dict[Subset, int],
    k: int,
    q: int,
    most: int,
    split: SplitOptions,
    mode: EnrollmentMode,
) -> tuple[dict[Subset, tuple[Episode, ...]], dict[str, int]]:
    """Return the episodes of each subset, and the persons with too few clips with how many they have.

    Raises UserError where nobody is left to test.
    """
    left_out: dict[str, int] = {}
    drawn: dict[Subset, tuple[Episode, ...]] = dict.fromkeys(draws, ())
    for subset, task in ((name, task) for name in draws for task in tasks[name]):
        if split.is_open and subset == "test":
            episodes, usable = _open_episodes(task, k, q, draws[subset], most, split)
        else:
            episodes, usable = _episodes(task, k, q, draws[subset], most, mode), len(task.utterances)
        drawn[subset] += episodes
        if not episodes:
            left_out[task.person] = usable
    if not drawn["test"]:
        raise UserError(
            f"no {split.person_axis} has {most} + {q} clips of the classes of an open episode: lower k or q"
        )
    return drawn, left_out


def _check(corpus: Corpus, split: SplitOptions, mode: EnrollmentMode) -> None:
    """Raise UserError for a mode that cannot be drawn, or an unknown emotion that is held out."""
    if mode not in MODES:
        raise UserError(f"mode: '{mode}' is none of {', '.join(MODES)}")
    if split.is_open and mode != "any":
        raise UserError(f"mode: '{mode}' cannot be drawn in the scenario {split.scenario}: give any")
    for emotion in split.held_out_emotions or ():
        corpus.emotions.index(emotion)


def _episodes(task: Task, k: int, q: int, draws: int, most: int, mode: EnrollmentMode) -> tuple[Episode, ...]:
    """Return the episodes of a person; none for one with too few annotations."""
    if not has_enough(task, most, q, mode):
        return ()
    return tuple(draw_episode(task, k, q, seed, most, mode) for seed in range(draws))


def _open_episodes(
    task: Task, k: int, q: int, draws: int, most: int, split: SplitOptions
) -> tuple[tuple[Episode, ...], int]:
    """Return the open episodes of a person, none for one with too few clips, and how many clips there are of
    the classes that they may have."""
    classes = OpenClasses.of(task, k, most + q, split.held_out_emotions or ())
    if not classes.sizes:
        return (), classes.num_clips
    return tuple(draw_open_episode(task, q, seed, k, most, classes) for seed in range(draws)), 0


def _divided(
    corpus: Corpus, wanted: Choice, largest_k: int | None, mode: EnrollmentMode
) -> tuple[Split, dict[Subset, list[Task]]]:
    """Return what `divide_tasks` does. Raises UserError, which says what works, where the corpus is too
    small."""
    axis, most = wanted.split.person_axis, largest_k or wanted.k
    try:
        divided, tasks = divide_tasks(corpus, wanted.split, tasks_of(corpus, axis))
        for subset, own in tasks.items():
            if own and not any(has_enough(task, most, wanted.q, mode) for task in own):
                raise _too_many_pairs(own, f"{subset} {axis}", most, wanted.q, mode)
    except UserError as error:
        works = Fitting(corpus, mode, largest_k).nearest(wanted)
        suggestion = f"; this works: {works.options_unlike(wanted)}" if works else ""
        raise UserError(f"{error}{suggestion}") from None
    return divided, tasks


def _too_many_pairs(tasks: Sequence[Task], kind: str, k: int, q: int, mode: EnrollmentMode) -> UserError:
    """Return the error for a K + Q for which no person of this kind has enough annotations."""
    largest = max(len(task.utterances) for task in tasks)
    needed = f"K + Q = {k} + {q}" + ("" if mode == "any" else f" in mode '{mode}'")
    return UserError(
        f"{needed} is more than any {kind} has (the most is {counted(largest, 'annotation')}): lower k or q"
    )
