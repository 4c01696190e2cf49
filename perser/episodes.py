"""Tasks (everything of one person), episodes (support and query drawn from a task), and the file of
episodes that every method reads, so that all are measured on the same draws."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from perser.corpora.annotations import Annotations
from perser.enrolment import MODES, EnrolmentMode, draw_pairs
from perser.errors import UserError, unless_damaged
from perser.folders import write_text_whole
from perser.labels import Emotions, EmotionSet, decide
from perser.splits import PARTS, Part, PersonAxis, Scenario, Split, SplitOptions, split_corpus

if TYPE_CHECKING:
    from perser.corpora.corpus import Corpus

FORMAT = "perser-episodes-1"


@dataclass(frozen=True)
class Task:
    """Everything of one person: utterance ids and, aligned with them, the emotions heard in each."""

    person: str
    utterances: tuple[str, ...]
    emotions: tuple[Emotions, ...]

    def sample(self, count: int, rng: np.random.Generator) -> tuple[tuple[str, ...], tuple[Emotions, ...]]:
        """`count` different pairs in random order (all of them where there are fewer)."""
        return self.at(rng.permutation(len(self.utterances))[:count])

    def at(self, places: Iterable[int]) -> tuple[tuple[str, ...], tuple[Emotions, ...]]:
        """The pairs at these places."""
        chosen = list(places)
        return tuple(self.utterances[i] for i in chosen), tuple(self.emotions[i] for i in chosen)


@dataclass(frozen=True)
class Support:
    """K enrolment pairs of one person. Who it is stays unsaid: a method has the pairs and nothing else.

    `seed` is for methods that need chance, so that they too are the same every time.
    """

    utterances: tuple[str, ...]
    emotions: tuple[Emotions, ...]
    seed: int

    def __len__(self) -> int:
        return len(self.utterances)

    def ordered(self, places: Sequence[int] | np.ndarray) -> Support:
        """The pairs at these places, all or some, in this order."""
        return Support(
            tuple(self.utterances[one] for one in places),
            tuple(self.emotions[one] for one in places),
            self.seed,
        )

    def first(self, pairs: int) -> Support:
        """The first `pairs` of the enrolment. Raises UserError where there are fewer."""
        if pairs > len(self):
            raise UserError(f"{pairs} enrolment pairs asked for, but the support has {len(self)}: raise k")
        return Support(self.utterances[:pairs], self.emotions[:pairs], self.seed)


@dataclass(frozen=True)
class Question:
    """What a method is given of an episode: a support, and the utterances to answer about. Neither the person
    nor what they heard in these utterances is in it."""

    support: Support
    utterances: tuple[str, ...]


@dataclass(frozen=True)
class Episode:
    """One draw from one person's task: a support to learn from and a query to be measured on."""

    episode_id: str
    person: str
    seed: int
    support: Support
    query_utterances: tuple[str, ...]
    query_emotions: tuple[Emotions, ...]

    @property
    def question(self) -> Question:
        """The episode without what is to be found out."""
        return Question(self.support, self.query_utterances)


@dataclass(frozen=True)
class EpisodeFile:
    """The split of a corpus and the episodes drawn from it, for one scenario and one K and Q."""

    corpus: str
    corpus_fingerprint: str
    emotions: Emotions
    scenario: Scenario
    person_axis: PersonAxis
    k: int
    q: int
    split: Split
    episodes: tuple[Episode, ...]
    validation_episodes: tuple[Episode, ...]
    left_out: dict[str, int]
    """Persons with too few annotations for K + Q (in this mode), and how many they have."""
    mode: EnrolmentMode = "any"
    """Which emotions a support may lack; see `perser.enrolment`."""

    @property
    def training_digest(self) -> str:
        """Names who and what is trained on: equal for files that leave the same to the tests."""
        part = [self.corpus_fingerprint, self.split.persons["train"], self.split.utterances["train"]]
        return hashlib.sha256(json.dumps(part).encode()).hexdigest()

    @property
    def setting(self) -> str:
        """The scenario, and what its supports lack: episodes that differ in it are never compared."""
        return self.scenario if self.mode == "any" else f"{self.scenario} ({self.mode} enrolment)"

    def save(self, path: Path) -> None:
        write_text_whole(path, json.dumps({"format": FORMAT} | asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> EpisodeFile:
        """Raises UserError where the file is missing or is not an episodes file."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path} is not there: draw episodes with `perser episodes`") from None
        except (ValueError, OSError, RecursionError) as error:
            raise UserError(f"{path} is not an episodes file: {error}") from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise UserError(f"{path} is not an episodes file of this version: draw it with `perser episodes`")
        with unless_damaged(str(path), "draw episodes again with `perser episodes`"):
            content["split"] = _split(content["split"])
            for key in ("episodes", "validation_episodes"):
                content[key] = tuple(_episode(one) for one in content[key])
            content["emotions"] = _words(content["emotions"])
            return _checked(cls(**content))

    def tasks(self, corpus: Corpus, part: Part) -> list[Task]:
        """The tasks of one part's persons on that part's utterances.

        Raises UserError if the file was drawn from another corpus.
        """
        self.check_corpus(corpus)
        allowed = set(self.split.utterances[part])
        tasks = tasks_of(corpus, self.person_axis)
        if strangers := [person for person in self.split.persons[part] if person not in tasks]:
            raise UserError(
                f"the episodes name the {self.person_axis} {strangers[0]}, whom {corpus.folder} lacks: "
                "draw them again with `perser episodes`"
            )
        kept = (restrict(tasks[person], allowed) for person in self.split.persons[part])
        return [task for task in kept if task.utterances]

    def training_tasks(self, corpus: Corpus) -> list[Task]:
        return self.tasks(corpus, "train")

    def validation_tasks(self, corpus: Corpus) -> list[Task]:
        return self.tasks(corpus, "validation")

    def check_corpus(self, corpus: Corpus) -> None:
        """Raises UserError if the file was drawn from another corpus than this one."""
        if corpus.fingerprint != self.corpus_fingerprint:
            raise UserError(
                f"these episodes were drawn from another corpus ({self.corpus}) than {corpus.folder}: "
                "draw them again with `perser episodes`"
            )
        for episode in (*self.episodes, *self.validation_episodes):
            for one in (*episode.support.utterances, *episode.query_utterances):
                if one not in corpus.utterances:
                    raise UserError(
                        f"{episode.episode_id} names the utterance {one}, which {corpus.folder} lacks: "
                        "draw episodes again with `perser episodes`"
                    )


def _episode(content: dict) -> Episode:
    support = content["support"]
    return Episode(
        episode_id=content["episode_id"],
        person=content["person"],
        seed=content["seed"],
        support=Support(_words(support["utterances"]), _labels(support["emotions"]), support["seed"]),
        query_utterances=_words(content["query_utterances"]),
        query_emotions=_labels(content["query_emotions"]),
    )


def _labels(content: Iterable[list[str]]) -> tuple[Emotions, ...]:
    return tuple(_words(emotions) for emotions in content)


def _words(content: list[str]) -> tuple[str, ...]:
    """Raises TypeError for what is no list of texts: a text is a list of letters to Python."""
    if not isinstance(content, list) or not all(isinstance(one, str) for one in content):
        raise TypeError("a list of texts is something else")
    return tuple(content)


def _split(content: dict) -> Split:
    split = Split(**content)
    for part in PARTS:
        _words(split.persons[part])
        _words(split.utterances[part])
    return split


def _checked(drawn: EpisodeFile) -> EpisodeFile:
    """The same; raises ValueError where its parts do not belong together."""
    if drawn.person_axis not in get_args(PersonAxis) or drawn.mode not in MODES:
        raise ValueError("an unknown person_axis or mode")
    known = set(drawn.emotions)
    for episode in (*drawn.episodes, *drawn.validation_episodes):
        support = episode.support
        if len(support) != len(support.emotions):
            raise ValueError(f"{episode.episode_id}: as many labels as utterances are needed")
        if len(episode.query_utterances) != len(episode.query_emotions):
            raise ValueError(f"{episode.episode_id}: as many labels as utterances are needed")
        if not known.issuperset(set().union(*support.emotions, *episode.query_emotions)):
            raise ValueError(f"{episode.episode_id}: an emotion outside {', '.join(drawn.emotions)}")
        if not all(isinstance(one, int) and one >= 0 for one in (episode.seed, support.seed)):
            raise ValueError(f"{episode.episode_id}: a seed is a whole number")
        if not (isinstance(episode.episode_id, str) and isinstance(episode.person, str)):
            raise ValueError("episode_id and person are texts")
    return drawn


def tasks_of(corpus: Corpus, person_axis: PersonAxis) -> dict[str, Task]:
    """Every person's task. On the speaker axis an utterance has the labels that its listeners, averaged,
    put above 1/C; on the listener axis each listener's own."""
    if person_axis == "listener":
        own = Annotations.of(corpus.annotations).by_listener()
        return {person: Task(person, *of_person) for person, of_person in own.items()}
    pairs: dict[str, list[tuple[str, Emotions]]] = defaultdict(list)
    for utterance_id, emotions in aggregated_labels(corpus).items():
        pairs[corpus.utterances[utterance_id].speaker].append((utterance_id, emotions))
    return {
        person: Task(person, *map(tuple, zip(*sorted(of_person), strict=True)))
        for person, of_person in sorted(pairs.items())
    }


def aggregated_labels(corpus: Corpus) -> dict[str, Emotions]:
    """Utterance id to the emotions whose mean share over the listeners is above 1/C; where none is
    (all equal), those with the largest share."""
    names, shares = Annotations.of(corpus.annotations).shares(corpus.emotions)
    chosen = decide(shares)
    chosen = np.where(chosen.any(axis=1, keepdims=True), chosen, shares == shares.max(axis=1, keepdims=True))
    words: dict[bytes, Emotions] = {}
    for row in np.unique(chosen, axis=0):
        words[row.tobytes()] = corpus.emotions.words(row)
    return {name: words[row.tobytes()] for name, row in zip(names, chosen, strict=True)}


def aggregated_targets(tasks: Sequence[Task], emotions: EmotionSet) -> dict[str, np.ndarray]:
    """Utterance id to the mean over these persons of their label distributions, float32
    (num_emotions,): what SSL-E is trained on (Meta-PerSER 2.3.1)."""
    total: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(emotions), dtype=np.float32))
    count: dict[str, int] = defaultdict(int)
    for task in tasks:
        for utterance_id, row in zip(task.utterances, emotions.distribution(task.emotions), strict=True):
            total[utterance_id] += row
            count[utterance_id] += 1
    return {utterance_id: total[utterance_id] / count[utterance_id] for utterance_id in sorted(total)}


def restrict(task: Task, utterances: set[str]) -> Task:
    """The part of a task that lies on these utterances."""
    kept = [i for i, one in enumerate(task.utterances) if one in utterances]
    return Task(task.person, tuple(task.utterances[i] for i in kept), tuple(task.emotions[i] for i in kept))


def draw_episode(
    task: Task, k: int, q: int, seed: int, largest_k: int | None = None, mode: EnrolmentMode = "any"
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


def has_enough(task: Task, k: int, q: int, mode: EnrolmentMode) -> bool:
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
    mode: EnrolmentMode = "any",
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
