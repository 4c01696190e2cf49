"""The scores file: what every method scored on every episode of one episodes file.

Tables are computed from these scores, never from averages.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measuring.statistics import EpisodeScores
from perser.errors import UserError
from perser.io.json_files import write_json

FORMAT = "perser-scores-2"

SETTING = ("corpus", "scenario", "person_axis", "encoder", "k")
"""What rows must have in common to be ranked against each other."""


@dataclass(frozen=True)
class MethodScores:
    """What one method scored on all episodes of a file."""

    method: str
    route: str
    adapts: dict[str, Any]
    """What the method adapts and how (`Personalizer.describe`)."""
    episodes: tuple[EpisodeScores, ...]
    seconds_personalize: float
    """Mean over the episodes."""
    seconds_predict: float
    """Mean per query utterance."""
    parameters: dict[str, int] = field(default_factory=dict)
    """How many were trained beforehand, and how many become one person's (`Personalizer.parameters`)."""
    peak_bytes: int | None = None
    """The most memory that answering added to the loaded model; None where it is not known."""
    confusion: list[list[float]] = field(default_factory=list)
    """Utterances by the emotion heard and the likeliest emotion (C, C), summed over the episodes."""
    reliability: list[list[float]] = field(default_factory=list)
    """Bins of confidence (`perser.metrics.confidence_bins`), summed over the episodes."""


@dataclass(frozen=True)
class Scores:
    """What all methods scored on one episodes file, which has one split, one K and one Q.

    The fields are the keys of the JSON file.
    """

    corpus: str
    scenario: str
    person_axis: str
    k: int
    encoder: str
    """The encoder of SSL-E; empty where no method uses it."""
    training_digest: str
    """Identifies whom and what the models were trained on (`EpisodeFile.training_digest`)."""
    meta: dict[str, Any]
    """What else a report says of the run: the corpus, Q, who was left out, versions."""
    provenance: dict[str, Any]
    """The commit of the code, the machine, and digests of the models' weights."""
    methods: tuple[MethodScores, ...]
    asked_digest: str = ""
    """Digest of the episodes (`Case.episodes_digest`), equal where all supports and queries are; empty where
    it is not known."""
    train_seed: int | None = None
    """The seed of the models, where several are measured."""

    @property
    def setting(self) -> dict[str, Any]:
        """The values of SETTING."""
        return {name: getattr(self, name) for name in SETTING}

    def save(self, path: Path) -> None:
        """Write the file."""
        write_json(path, {"format": FORMAT} | asdict(self))

    @classmethod
    def load(cls, path: Path) -> Scores:
        """Load a file that `save` wrote. Raises UserError where it is missing or is another file."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
            raise UserError(f"{path} is no file of scores: {error}; write it with `perser bench`") from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise UserError(f"{path} is no file of scores of this version: write it with `perser bench`")
        methods = (
            method | {"episodes": tuple(EpisodeScores(**episode) for episode in method["episodes"])}
            for method in content["methods"]
        )
        return cls(**content | {"methods": tuple(MethodScores(**method) for method in methods)})
