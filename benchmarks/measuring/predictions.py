"""What one method answered to every utterance of some episodes, as a Parquet file that any tool reads.

A row is a query utterance: corpus, scenario, person_axis, k, method, seed, person, episode_id, utterance_id,
`heard` (what the person heard, a list of words) and `probability_<emotion>` for each emotion, in the set's
order. The file's metadata, under the key `perser`, says how the answers came about.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring.answer import Answer
from perser.episodes.episode import Episode
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError, explain_damage
from perser.labels import Emotions

FORMAT = "perser-predictions-1"

METADATA, DIGEST = b"perser", b"perser-sha256"

PREFIX = "probability_"


@dataclass(frozen=True)
class Origin:
    """How the answers of one cell came about."""

    key: str
    """Changes with the method, the episodes and the corpus (`benchmarks.cells`)."""
    method: str
    route: str
    adapts: Mapping[str, Any]
    """What the method adapts and how (`Personalizer.describe`)."""
    parameters: Mapping[str, int]
    """How many it has trained beforehand, and how many become one person's (`Personalizer.parameters`)."""
    models: Mapping[str, str]
    """The folders of models that it opened, and a digest of their files."""
    device: str
    threads: int
    versions: Mapping[str, str]
    peak_bytes: int | None
    """The most memory that answering added to the loaded model; None where the system does not tell."""
    commit: str | None = None
    """The code's (`benchmarks.measuring.provenance.commit`)."""
    seconds_build: float = 0.0
    """Of making the method: its models loaded, its features at hand."""


@dataclass(frozen=True)
class Predictions:
    """The answers of one cell: one method, the episodes of one seed."""

    origin: Origin
    emotions: Emotions
    episodes: Sequence[str]
    """Episode ids, in the order of `answers`."""
    answers: Sequence[Answer]

    def save(self, path: Path, drawn: EpisodeFile, asked: Sequence[Episode]) -> None:
        """Write the file, whole or not at all; `asked` are the episodes, of `drawn`."""
        columns = _columns(drawn, self.origin.method, asked)
        probabilities = np.concatenate([one.probabilities for one in self.answers])
        for place, emotion in enumerate(self.emotions):
            columns[PREFIX + emotion] = pa.array(probabilities[:, place])
        seconds = [[one.seconds_personalize, one.seconds_predict] for one in self.answers]
        said = {"format": FORMAT, "seconds": seconds} | asdict(self.origin)
        text = json.dumps(said).encode()
        digest = hashlib.sha256(text).hexdigest().encode()
        table = pa.table(columns).replace_schema_metadata({METADATA: text, DIGEST: digest})
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as temporary:
            written = Path(temporary) / path.name
            pq.write_table(table, written, write_page_checksum=True)
            written.replace(path)

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Raises UserError where the file is no such file."""
        said = read_metadata(path)
        if said is None:
            raise UserError(f"{path} is no file of predictions of this version: write it with `perser bench`")
        with explain_damage(str(path), "delete it and run `perser bench` again"):
            table = pq.read_table(path, page_checksum_verification=True)
            names = [one for one in table.column_names if one.startswith(PREFIX)]
            rows = np.stack([table[one].to_numpy() for one in names], axis=1)
            if not np.isfinite(rows).all():
                raise ValueError("probabilities that are not finite")
            ids = np.array(table["episode_id"].to_pylist())
            starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
            parts = np.split(rows, starts[1:])
            seconds = said.pop("seconds")
            given = [Answer(part, *times) for part, times in zip(parts, seconds, strict=True)]
            emotions = tuple(one.removeprefix(PREFIX) for one in names)
            return cls(Origin(**said), emotions, ids[starts].tolist(), given)


def read_metadata(path: Path) -> dict[str, Any] | None:
    """What the file says of itself, without reading its rows; None where it is no such file."""
    try:
        kept = pq.read_schema(path).metadata or {}
        said, digest = json.loads(kept[METADATA]), hashlib.sha256(kept[METADATA]).hexdigest().encode()
    except (OSError, KeyError, ValueError, RecursionError, pa.ArrowException):
        return None
    if not isinstance(said, dict) or kept.get(DIGEST, digest) != digest:
        return None
    return said if said.pop("format", None) == FORMAT else None


def _columns(drawn: EpisodeFile, method: str, asked: Sequence[Episode]) -> dict[str, Any]:
    counts = [len(one.query_utterances) for one in asked]
    total = sum(counts)
    same = {
        "corpus": drawn.corpus,
        "scenario": drawn.setting,
        "person_axis": drawn.person_axis,
        "k": drawn.k,
        "method": method,
    }
    columns: dict[str, Any] = {name: pa.array([value] * total) for name, value in same.items()}
    for name in ("seed", "person", "episode_id"):
        values = [getattr(one, name) for one in asked]
        columns[name] = pa.array(
            [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
        )
    columns["utterance_id"] = pa.array([one for each in asked for one in each.query_utterances])
    columns["heard"] = pa.array([list(one) for each in asked for one in each.query_emotions])
    return columns
