"""The episodes file: a split and its episodes. All methods read it, so all are measured on the same draws."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from perser.corpora.content import Content, contents_by_part, load_contents, without_repeats
from perser.corpora.listing import PersonAxis
from perser.episodes.episode import Episode, Support, Task, restrict, tasks_of
from perser.episodes.sampling import MODES, EnrollmentMode
from perser.episodes.splits import OPEN, SUBSETS, Scenario, Split, Subset
from perser.errors import UserError, explain_damage
from perser.io.checksums import json_sha256
from perser.io.folders import did_you_mean
from perser.io.json_files import write_json
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
    """Persons with too few annotations for K + Q in this mode, and how many they have."""
    mode: EnrollmentMode = "any"
    """Which emotions a support may lack."""

    @property
    def training_digest(self) -> str:
        """A digest of the training persons and utterances: equal for files with the same training data."""
        return json_sha256(
            [self.corpus_fingerprint, self.split.persons["train"], self.split.utterances["train"]]
        )

    @property
    def is_open(self) -> bool:
        """Whether the labels of its episodes are words that nobody was trained on."""
        return self.scenario in OPEN

    @property
    def setting(self) -> str:
        """The scenario and the enrollment mode. Results on different settings are never compared."""
        return self.scenario if self.mode == "any" else f"{self.scenario} ({self.mode} enrollment)"

    def save(self, path: Path) -> None:
        """Write the file, as JSON."""
        episodes = {
            key: [episode.as_json() for episode in getattr(self, key)]
            for key in ("episodes", "validation_episodes")
        }
        write_json(path, {"format": FORMAT} | asdict(self) | episodes)

    @classmethod
    def load(cls, path: Path) -> EpisodeFile:
        """Read a file. Raises UserError if it is missing, damaged, or of another kind or version."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            hint = did_you_mean(Path(path))
            raise UserError(f"{path} is not there{hint}: draw episodes with `perser episodes`") from None
        except OSError as error:
            reason = "a folder" if Path(path).is_dir() else error.strerror or error
            raise UserError(
                f"cannot read {path} ({reason}): give the file that `perser episodes` wrote"
            ) from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} is not an episodes file: {error}") from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise UserError(f"{path} is not an episodes file of this version: draw it with `perser episodes`")
        with explain_damage(str(path), "draw episodes again with `perser episodes`"):
            content["split"] = _split(content["split"])
            for key in ("episodes", "validation_episodes"):
                content[key] = tuple(_episode(episode) for episode in content[key])
            content["emotions"] = _strings(content["emotions"])
            return _checked(cls(**content))

    def tasks(self, corpus: Corpus, subset: Subset) -> list[Task]:
        """Return the tasks of a subset's persons, restricted to the subset's utterances.

        Raises UserError if the file was drawn from another corpus.
        """
        self.check_corpus(corpus)
        allowed = set(self.split.utterances[subset])
        tasks = tasks_of(corpus, self.person_axis)
        if unknown := [person for person in self.split.persons[subset] if person not in tasks]:
            raise UserError(
                f"the episodes name the {self.person_axis} {unknown[0]}, who is not in {corpus.folder}: "
                "draw them again with `perser episodes`"
            )
        restricted = (restrict(tasks[person], allowed) for person in self.split.persons[subset])
        return [task for task in restricted if task.utterances]

    def training_tasks(self, corpus: Corpus) -> list[Task]:
        """Return the tasks to train on. Raises UserError as `tasks` does, or if there are none."""
        if not (tasks := self.tasks(corpus, "train")):
            raise UserError(
                "these episodes are a test set, with no one to train on: draw others with "
                "`perser episodes --split.scenario unseen`, seen or speaker"
            )
        return tasks

    def trained_on(self, corpus: Corpus, models: Iterable[str | Path] = ()) -> list[Content] | None:
        """Return what a model has met that is trained and validated by this file.

        Args:
            corpus: The corpus that the file was drawn from.
            models: Trained models that the training starts from; their own trainings are added.

        Returns None where that is not known, as the recordings cannot be read.
        """
        tasks = [*self.tasks(corpus, "train"), *self.tasks(corpus, "validation")]
        utterances = {name for task in tasks for name in task.utterances}
        listeners = {task.person for task in tasks}
        if self.person_axis == "speaker":  # its labels are of all who labeled these utterances
            listeners = {row.listener for row in corpus.annotations if row.utterance_id in utterances}
        try:
            contents = contents_by_part(corpus, utterances, listeners)
        except UserError:
            return None
        return without_repeats(
            [*contents, *(part for model in models for part in load_contents(model) or ())]
        )

    def validation_tasks(self, corpus: Corpus) -> list[Task]:
        return self.tasks(corpus, "validation")

    def check_corpus(self, corpus: Corpus) -> None:
        """Raise UserError if the file was drawn from another corpus than this one."""
        if corpus.fingerprint != self.corpus_fingerprint:
            raise UserError(
                f"these episodes were drawn from another corpus ({self.corpus}) than {corpus.folder}: "
                "draw them again with `perser episodes`"
            )
        for episode in (*self.episodes, *self.validation_episodes):
            for name in (*episode.support.utterances, *episode.query_utterances):
                if name not in corpus.utterances:
                    raise UserError(
                        f"{episode.episode_id} names the utterance {name}, which is not in {corpus.folder}: "
                        "draw episodes again with `perser episodes`"
                    )


def _episode(content: dict[str, Any]) -> Episode:
    support = content["support"]
    return Episode(
        episode_id=content["episode_id"],
        person=content["person"],
        seed=content["seed"],
        support=Support(_strings(support["utterances"]), _labels(support["emotions"]), support["seed"]),
        query_utterances=_strings(content["query_utterances"]),
        query_emotions=_labels(content["query_emotions"]),
        words=tuple((emotion, word) for emotion, word in _labels(content.get("words", []))),
    )


def _labels(content: Iterable[list[str]]) -> tuple[Emotions, ...]:
    return tuple(_strings(emotions) for emotions in content)


def _strings(content: list[str]) -> tuple[str, ...]:
    """Return a list of strings as a tuple.

    Raises TypeError for anything else. Without this check a string would pass as a list of letters.
    """
    if not isinstance(content, list) or not all(isinstance(item, str) for item in content):
        raise TypeError("something that should be a list of strings is not")
    return tuple(content)


def _split(content: dict[str, Any]) -> Split:
    split = Split(**content)
    for subset in SUBSETS:
        _strings(split.persons[subset])
        _strings(split.utterances[subset])
    return split


def _checked(file: EpisodeFile) -> EpisodeFile:
    """Return the file. Raises ValueError if its contents contradict each other."""
    if file.person_axis not in get_args(PersonAxis) or file.mode not in MODES:
        raise ValueError("an unknown person_axis or mode")
    known = set(file.emotions)
    for episode in (*file.episodes, *file.validation_episodes):
        support = episode.support
        if len(support) != len(support.emotions):
            raise ValueError(f"{episode.episode_id}: the numbers of labels and utterances differ")
        if len(episode.query_utterances) != len(episode.query_emotions):
            raise ValueError(f"{episode.episode_id}: the numbers of labels and utterances differ")
        if not known.issuperset(set().union(*support.emotions, *episode.query_emotions)):
            raise ValueError(f"{episode.episode_id}: an emotion outside {', '.join(file.emotions)}")
        if not known.issuperset(emotion for emotion, _ in episode.words):
            raise ValueError(f"{episode.episode_id}: a word for an unknown emotion")
        own = {emotion for emotion, _ in episode.words}
        if own and not own.issuperset(set().union(*support.emotions, *episode.query_emotions)):
            raise ValueError(f"{episode.episode_id}: an emotion without a word")
        if not all(isinstance(seed, int) and seed >= 0 for seed in (episode.seed, support.seed)):
            raise ValueError(f"{episode.episode_id}: a seed must be an integer, 0 or more")
        if not (isinstance(episode.episode_id, str) and isinstance(episode.person, str)):
            raise ValueError("episode_id and person must be strings")
    return file
