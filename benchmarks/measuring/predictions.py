"""Save and load what one method predicted for every utterance of some episodes, as a Parquet file.

A row is a query utterance: corpus, scenario, person_axis, k, method, seed, person, episode_id, utterance_id,
`heard` (the emotions that the person heard, a list of words) and `probability_<emotion>` for each emotion, in
the order of the emotion set. The file's metadata, under the key `perser`, holds the `Origin` of the answers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring.answer import EpisodeAnswer
from perser.episodes.episode import Episode
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError, explain_damage
from perser.io.files import new_file
from perser.labels import Emotions

FORMAT = "perser-predictions-1"

METADATA, DIGEST = b"perser", b"perser-sha256"

COLUMNS = (
    "corpus",
    "scenario",
    "person_axis",
    "k",
    "method",
    "seed",
    "person",
    "episode_id",
    "utterance_id",
    "heard",
)
"""The columns beside those of the probabilities."""

PREFIX = "probability_"


@dataclass(frozen=True)
class Origin:
    """How the answers of one cell were made."""

    key: str
    """Changes with the method, the episodes and the corpus (`benchmarks.measuring.cells.Case.key`)."""
    method: str
    route: str
    adapts: Mapping[str, Any]
    """What the method adapts and how (`Personalizer.describe`)."""
    parameters: Mapping[str, int]
    """How many were trained beforehand, and how many become one person's (`Personalizer.parameters`)."""
    models: Mapping[str, str]
    """The folders of the models that the method opened, and a digest of the files of each."""
    device: str
    threads: int
    versions: Mapping[str, str]
    peak_bytes: int | None
    """The most memory that answering added to the loaded model; None where the system does not tell."""
    commit: str | None = None
    """The commit of the code (`perser.environment.git_commit`)."""
    seconds_build: float = 0.0
    """Time to build the method: to load its models and prepare its features."""
    thresholds: Sequence[float] | None = None
    """Each emotion's threshold, chosen on validation persons (`benchmarks.measuring.thresholds`); None where
    there are none, and in files of earlier versions."""
    other_corpora: Mapping[str, str] = field(default_factory=dict)
    """The models that were trained on other corpora and have met nothing of this one
    (`RouteContext.other_corpora`)."""


@dataclass(frozen=True)
class Predictions:
    """The answers of one cell: one method on the episodes of one seed."""

    origin: Origin
    emotions: Emotions
    episodes: Sequence[str]
    """Episode ids, in the order of `answers`."""
    answers: Sequence[EpisodeAnswer]

    def save(self, path: Path, episode_file: EpisodeFile, episodes: Sequence[Episode]) -> None:
        """Write the file so that it is never seen half written; `episodes` are those of the answers."""
        columns = _columns(episode_file, self.origin.method, episodes)
        probabilities = np.concatenate([answer.probabilities for answer in self.answers])
        for place, emotion in enumerate(self.emotions):
            columns[PREFIX + emotion] = pa.array(probabilities[:, place])
        seconds = [[answer.seconds_personalize, answer.seconds_predict] for answer in self.answers]
        metadata = json.dumps({"format": FORMAT, "seconds": seconds} | asdict(self.origin)).encode()
        digest = hashlib.sha256(metadata).hexdigest().encode()
        table = pa.table(columns).replace_schema_metadata({METADATA: metadata, DIGEST: digest})
        with new_file(path) as written:
            pq.write_table(table, written, write_page_checksum=True)

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Load a file that `save` wrote. Raises UserError where it is another file, or damaged."""
        metadata = read_metadata(path)
        if metadata is None:
            raise UserError(f"{path} is no file of predictions of this version: write it with `perser bench`")
        with explain_damage(str(path), "delete it and run `perser bench` again"):
            table = pq.read_table(path, page_checksum_verification=True)
            names = [name for name in table.column_names if name not in COLUMNS]
            if not all(name.startswith(PREFIX) for name in names):  # checksums do not cover the names
                raise ValueError("unknown columns")
            rows = np.stack([table[name].to_numpy() for name in names], axis=1)
            if not np.isfinite(rows).all():
                raise ValueError("probabilities that are not finite")
            ids = np.array(table["episode_id"].to_pylist())
            starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
            by_episode = np.split(rows, starts[1:])
            seconds = metadata.pop("seconds")
            answers = [EpisodeAnswer(part, *times) for part, times in zip(by_episode, seconds, strict=True)]
            emotions = tuple(name.removeprefix(PREFIX) for name in names)
            return cls(Origin(**metadata), emotions, ids[starts].tolist(), answers)


def read_metadata(path: Path) -> dict[str, Any] | None:
    """Return the `Origin` fields and `seconds` of a file without reading its rows.

    None where the file is missing, is no file of predictions, or has damaged metadata.
    """
    try:
        schema_metadata = pq.read_schema(path).metadata or {}
        text = schema_metadata[METADATA]
        metadata, digest = json.loads(text), hashlib.sha256(text).hexdigest().encode()
    except (OSError, KeyError, ValueError, RecursionError, pa.ArrowException):
        return None
    if not isinstance(metadata, dict) or schema_metadata.get(DIGEST, digest) != digest:
        return None
    return metadata if metadata.pop("format", None) == FORMAT else None


def _columns(episode_file: EpisodeFile, method: str, episodes: Sequence[Episode]) -> dict[str, Any]:
    counts = [len(episode.query_utterances) for episode in episodes]
    total = sum(counts)
    constant = {
        "corpus": episode_file.corpus,
        "scenario": episode_file.setting,
        "person_axis": episode_file.person_axis,
        "k": episode_file.k,
        "method": method,
    }
    columns: dict[str, Any] = {name: pa.array([value] * total) for name, value in constant.items()}
    for name in ("seed", "person", "episode_id"):
        values = [getattr(episode, name) for episode in episodes]
        columns[name] = pa.array(
            [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
        )
    columns["utterance_id"] = pa.array([name for episode in episodes for name in episode.query_utterances])
    columns["heard"] = pa.array([list(words) for episode in episodes for words in episode.query_emotions])
    return columns
