"""Steps with a loss or gradient that is not finite: they are skipped, counted, and traced to their input."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object

from perser.errors import UserError
from perser.io.files import explain_write_errors, write_text_atomic

BAD_STEPS = "bad_steps.json"
MOST_NAMED = 5
"""How many causes, and utterances of each, a message names."""


@dataclass(frozen=True)
class StepPart:
    """One part of what a step read: an utterance, a person's examples, or a sequence.

    Args:
        utterances: their ids.
        finite: whether the loss of this part was finite.
        person: whose they are, where a part is one person's.
    """

    utterances: Sequence[str]
    finite: bool
    person: str | None = None

    @property
    def record(self) -> dict[str, Any]:
        """What `bad_steps.json` says of it."""
        person = {} if self.person is None else {"person": self.person}
        return person | {"utterances": list(self.utterances)}


class BadSteps:
    """The skipped steps of a training so far.

    Args:
        folder: of `bad_steps.json`; None where another process writes it, or none does.
        most: how many end the training.
        earlier: records of earlier ones, from a checkpoint.
    """

    def __init__(self, folder: Path | None, most: int, earlier: Sequence[dict[str, Any]] = ()) -> None:
        self._file = None if folder is None else folder / BAD_STEPS
        self._most = most
        self.records = list(earlier)
        """One JSON object a step."""
        self._write()

    def add(self, stage: str, step: int, loss: float, norm: float, parts: Sequence[StepPart]) -> None:
        """Record a step that all processes skip; each of them gives the parts that it read.

        The causes are the parts whose own loss is not finite, or all parts where only the gradient is not.

        Raises UserError, which names the last step's causes, where there have been too many.
        """
        all_parts: list[StepPart] = gather_object(list(parts))
        causes = _unique([part.record for part in all_parts if not part.finite])
        kind = "loss" if causes or not math.isfinite(loss) else "gradient"
        causes = causes or _unique([part.record for part in all_parts])
        norm_as_json = norm if math.isfinite(norm) else str(norm)
        self.records.append(
            {
                "stage": stage,
                "step": step,
                "not_finite": kind,
                "gradient_norm": norm_as_json,
                "causes": causes,
            }
        )
        self._write()
        if len(self.records) >= self._most:
            raise UserError(self._message())

    def _write(self) -> None:
        if self._file is None:
            return
        with explain_write_errors(self._file):
            if self.records:
                text = json.dumps(self.records, indent=1, ensure_ascii=False) + "\n"
                write_text_atomic(self._file, text)
            else:
                self._file.unlink(missing_ok=True)

    def _message(self) -> str:
        last = self.records[-1]
        count = f"{len(self.records)} steps" if len(self.records) > 1 else "a step"
        where = "" if self._file is None else f"; all are in {self._file}"
        return (
            f"{count} had a loss or gradient that is not finite: at step {last['step']} of {last['stage']} "
            f"the {last['not_finite']}, on {_in_words(last['causes'])}{where}: look at those recordings, or "
            "lower the learning rate"
        )


def _unique(causes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out repeated causes: several processes may have read the same."""
    return [cause for place, cause in enumerate(causes) if cause not in causes[:place]]


def _in_words(causes: Sequence[dict[str, Any]]) -> str:
    """Name the first few causes."""
    words = []
    for cause in causes[:MOST_NAMED]:
        ids = cause["utterances"]
        person = f"'{cause['person']}': " if "person" in cause else ""
        more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
        words.append(person + ", ".join(ids[:MOST_NAMED]) + more)
    rest = f" and {len(causes) - MOST_NAMED} more" if len(causes) > MOST_NAMED else ""
    return "; ".join(words) + rest
