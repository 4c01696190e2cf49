"""TODO(reorg): docstring."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from perser.corpora.listing import PersonAxis
from perser.episodes.episode import Episode, Support, Task, restrict, tasks_of
from perser.episodes.sampling import MODES, EnrollmentMode
from perser.episodes.splits import PARTS, Part, Scenario, Split
from perser.errors import UserError, explain_damage
from perser.io.files import write_text_atomic
from perser.labels import Emotions

if TYPE_CHECKING:
    from perser.corpora.corpus import Corpus

FORMAT = "perser-episodes-1"


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
    mode: EnrollmentMode = "any"
    """Which emotions a support may lack; see `perser.enrollment`."""

    @property
    def training_digest(self) -> str:
        """Names who and what is trained on: equal for files that leave the same to the tests."""
        part = [self.corpus_fingerprint, self.split.persons["train"], self.split.utterances["train"]]
        return hashlib.sha256(json.dumps(part).encode()).hexdigest()

    @property
    def setting(self) -> str:
        """The scenario, and what its supports lack: episodes that differ in it are never compared."""
        return self.scenario if self.mode == "any" else f"{self.scenario} ({self.mode} enrollment)"

    def save(self, path: Path) -> None:
        write_text_atomic(path, json.dumps({"format": FORMAT} | asdict(self), indent=1) + "\n")

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
        with explain_damage(str(path), "draw episodes again with `perser episodes`"):
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
