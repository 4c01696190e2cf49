"""Personalize any tool from its probabilities alone: a bias over the emotions, and perhaps a scale.

    table = ProbabilityTable.read(Path("scores.csv"))
    personal = enroll_probabilities(table, read_labels(Path("alice.csv")))
    personal.save(Path("alice.profile"))
    personal.predict(ProbabilityTable.read(Path("new.csv")))

No model is loaded, and torch is not imported. The answers are those that `+prior-shift` and `+bias-scale`
give after the same clips (`perser.adjustments.recalibration`), with strengths of 1 unless others are given.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from perser.adjustments.recalibration import Fitted, Priors, fit
from perser.errors import UserError, saying_where
from perser.inference.prediction import Prediction, classify
from perser.inference.probability_table import ProbabilityTable
from perser.inference.profile_place import OF_PROBABILITIES, refuse_other
from perser.io.checksums import json_sha256
from perser.io.emotion_names import own_word
from perser.io.files import check_name, explain_write_errors, write_text_atomic
from perser.io.folders import did_you_mean
from perser.io.json_files import read_json
from perser.io.tables import read_table
from perser.labels import Emotions, EmotionSet

Recalibration = Literal["prior-shift", "bias-scale"]

DIGEST = "sha256"
"""Key of the file's digest of everything else in it."""


@dataclass(frozen=True)
class LabeledName:
    """A clip that a person labeled: its name in their table, the emotions, and where to look in the table."""

    name: str
    emotions: Emotions
    beside: Path
    line: int


@dataclass(frozen=True)
class LabeledProbabilities:
    """A clip that was enrolled: its name, what the person heard, and what the tool said, (num_emotions,)."""

    name: str
    emotions: Emotions
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class ProbabilityProfile:
    """What makes a tool's probabilities one person's.

    Args:
        emotions: of the tool, in the order of its first table.
        recalibration: `prior-shift` fits a bias of each emotion, `bias-scale` a scale of the logits too.
        priors: how strongly these are held at those that change nothing.
        enrolled: the clips that the person labeled.
    """

    emotions: EmotionSet
    recalibration: Recalibration
    priors: Priors
    enrolled: tuple[LabeledProbabilities, ...]

    @cached_property
    def fitted(self) -> Fitted:
        """The bias and the scale that fit the enrolled clips best."""
        logits = np.log(np.array([clip.probabilities for clip in self.enrolled]))
        targets = self.emotions.distribution([clip.emotions for clip in self.enrolled])
        return fit(logits, targets, self.priors)

    def predict(self, table: ProbabilityTable) -> list[Prediction]:
        """Return an answer for each row of a table, each with what the tool itself says."""
        plain = table.in_order(self.emotions).probabilities
        own = self.fitted.apply(np.log(plain))
        return [
            Prediction(
                **vars(classify(self.emotions, own[row])),
                path=clip,
                unadapted=classify(self.emotions, plain[row]),
            )
            for row, clip in enumerate(table.clips)
        ]

    def enroll(self, table: ProbabilityTable, labeled: Sequence[LabeledName]) -> ProbabilityProfile:
        """Return the profile that has learned further clips, as if all had been enrolled at once.

        Raises UserError for a clip that the table does not have, that is enrolled already, or that has an
        emotion which the tool does not know.
        """
        table = table.in_order(self.emotions)
        enrolled = list(self.enrolled)
        for clip in labeled:
            if any(earlier.name == clip.name for earlier in enrolled):
                raise UserError(f"{clip.name} is enrolled already, or labeled twice: leave it out")
            row = table.row_of(clip.name, clip.beside)
            if row is None:
                raise UserError(
                    f"line {clip.line} of the examples: {table.file} has no row for {clip.name}"
                    f"{did_you_mean(table.file.parent / clip.name)}: add one, or leave the example out"
                )
            values = tuple(table.probabilities[row].tolist())
            enrolled.append(LabeledProbabilities(clip.name, self._words(clip), values))
        return replace(self, enrolled=tuple(enrolled))

    def _words(self, clip: LabeledName) -> Emotions:
        """Return a clip's emotions as the tool's table has them: `joy` is happy where it has no joy."""
        known = self.emotions.names
        words = tuple(dict.fromkeys(word if word in known else own_word(word) for word in clip.emotions))
        with saying_where(f"line {clip.line} of the examples: {clip.name}"):
            self.emotions.multi_hot([words])
        return words

    def save(self, path: Path) -> None:
        """Write the profile, as JSON. Raises UserError where that fails, or the file holds something else."""
        check_name(path)
        refuse_other(path)
        fitted = self.fitted
        content = {
            "format": OF_PROBABILITIES,
            "emotions": self.emotions.names,
            "recalibration": self.recalibration,
            "strength": asdict(self.priors),
            "bias": dict(zip(self.emotions.names, fitted.bias.tolist(), strict=True)),
            "scale": fitted.scale,
            "enrolled": [asdict(clip) for clip in self.enrolled],
        }
        content[DIGEST] = json_sha256(content)
        with explain_write_errors(f"the profile {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomic(path, json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> ProbabilityProfile:
        """Read a profile. Raises UserError for a file that is none, or a damaged one."""
        content = read_json(path)
        if content is None or content.get("format") != OF_PROBABILITIES:
            raise UserError(
                f"{path} is no profile of probabilities: make one with `perser enroll --probabilities`"
            )
        if content.pop(DIGEST, None) != json_sha256(content):
            raise UserError(f"the profile {path} is not what was saved, it is damaged: enroll again")
        try:
            clips = [
                LabeledProbabilities(
                    name=str(clip["name"]),
                    emotions=tuple(map(str, clip["emotions"])),
                    probabilities=tuple(map(float, clip["probabilities"])),
                )
                for clip in content["enrolled"]
            ]
            emotions = EmotionSet(tuple(map(str, content["emotions"])))
            return cls(emotions, content["recalibration"], Priors(**content["strength"]), tuple(clips))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"the profile {path} is damaged: enroll again") from error


def enroll_probabilities(
    table: ProbabilityTable,
    labeled: Sequence[LabeledName],
    recalibration: Recalibration = "prior-shift",
    priors: Priors | None = None,
) -> ProbabilityProfile:
    """Return the profile of the person who labeled these clips of a table.

    Args:
        table: what the tool says of them, and of any other clips.
        labeled: the clips.
        recalibration: what is fitted.
        priors: how strongly; None: with strengths of 1.

    Raises UserError as `ProbabilityProfile.enroll` does.
    """
    if priors is None:
        priors = Priors(scale=1.0 if recalibration == "bias-scale" else None)
    return ProbabilityProfile(table.emotions, recalibration, priors, ()).enroll(table, labeled)


def read_labels(examples: Path) -> list[LabeledName]:
    """Read the clips that a person labeled from a table with the columns `path` and `emotions`.

    The clips themselves need not be there. Raises UserError that names the file and the line.
    """
    if examples.is_dir():
        raise UserError(
            f"examples: {examples} is a folder: with probabilities give a table with the columns path and "
            "emotions"
        )
    rows = read_table(examples, required=("path", "emotions"), optional=())
    return [LabeledName(row.path(), row.emotions(), examples.parent, row.line) for row in rows]
