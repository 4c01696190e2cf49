"""What every method scored on every episode of one file of episodes: measured once, and kept, so that any
table is computed from scores and never from averages."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measuring.statistics import EpisodeScores
from perser.errors import UserError
from perser.io.files import write_text_atomic

FORMAT = "perser-scores-2"

SETTING = ("corpus", "scenario", "person_axis", "encoder", "k")
"""What rows must share to be ranked against each other."""


@dataclass(frozen=True)
class MethodScores:
    """One method on all episodes of a file."""

    method: str
    route: str
    adapts: dict[str, Any]
    """What the method adapts and how (`Personalizer.describe`)."""
    episodes: tuple[EpisodeScores, ...]
    seconds_personalize: float
    """Mean over the episodes."""
    seconds_predict: float
    """Mean of one query utterance."""
    parameters: dict[str, int] = field(default_factory=dict)
    """How many were trained beforehand, and how many become one person's (`Personalizer.parameters`)."""
    peak_bytes: int | None = None
    """The most memory that answering added to the loaded model; None where it is not known."""
    confusion: list[list[float]] = field(default_factory=list)
    """Utterances by what was heard and the likeliest emotion (C, C), summed over the episodes."""
    reliability: list[list[float]] = field(default_factory=list)
    """Bins of confidence (`perser.metrics.confidence_bins`), summed over the episodes."""


@dataclass(frozen=True)
class Scores:
    """All methods on one file of episodes, which has one split, one K and one Q."""

    corpus: str
    scenario: str
    person_axis: str
    k: int
    encoder: str
    """Of SSL-E; empty where no method stood on one."""
    training_digest: str
    """Names who and what the models were trained on (`EpisodeFile.training_digest`)."""
    meta: dict[str, Any]
    """What else a report says of a run: the corpus, Q, who was left out, versions."""
    provenance: dict[str, Any]
    """The code's commit, the machine, the digests of the models' weights (`benchmarks.provenance`)."""
    methods: tuple[MethodScores, ...]
    asked_digest: str = ""
    """Names the episodes: equal where all supports and queries are; empty where it is not known."""

    @property
    def setting(self) -> dict[str, Any]:
        """What rows must share to be compared."""
        return {name: getattr(self, name) for name in SETTING}

    def save(self, path: Path) -> None:
        write_text_atomic(path, json.dumps({"format": FORMAT} | asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Scores:
        """Raises UserError where the file is missing or is no file of scores."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
            raise UserError(f"{path} is no file of scores: {error}; write it with `perser bench`") from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise UserError(f"{path} is no file of scores of this version: write it with `perser bench`")
        methods = (
            one | {"episodes": tuple(EpisodeScores(**episode) for episode in one["episodes"])}
            for one in content["methods"]
        )
        return cls(**content | {"methods": tuple(MethodScores(**one) for one in methods)})
