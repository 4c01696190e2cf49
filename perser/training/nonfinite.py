"""Steps with a loss or a gradient that is not finite: never taken, counted, and blamed on what was read."""

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


@dataclass(frozen=True)
class Part:
    """What a part of a step read.

    Args:
        utterances: ids.
        finite: whether the part's own loss was.
        person: whose they are, where a part is one person's.
    """

    utterances: Sequence[str]
    finite: bool
    person: str | None = None

    @property
    def named(self) -> dict[str, Any]:
        """For the record."""
        whose = {} if self.person is None else {"person": self.person}
        return whose | {"utterances": list(self.utterances)}


class BadSteps:
    """Those of a training so far.

    Args:
        folder: for `bad_steps.json`; None: another process writes it, or nobody.
        most: how many end the training.
        found: what a checkpoint kept of those before it.
    """

    def __init__(self, folder: Path | None, most: int, found: Sequence[dict[str, Any]] = ()) -> None:
        self._file = None if folder is None else folder / BAD_STEPS
        self._most = most
        self.found = list(found)
        """One plain record each."""
        self._write()

    def add(self, stage: str, step: int, loss: float, norm: float, parts: Sequence[Part]) -> None:
        """Record a step that all processes skip, each with the parts that it had of it. Those whose own loss
        is not finite are its cause, or all of them where the gradient alone is not.

        Raises UserError, which names the last one's cause, where there have been too many.
        """
        every = gather_object(list(parts))
        causes = _each_once([one.named for one in every if not one.finite])
        what = "loss" if causes or not math.isfinite(loss) else "gradient"
        norm_said = norm if math.isfinite(norm) else str(norm)
        causes = causes or _each_once([one.named for one in every])
        self.found.append(
            {"stage": stage, "step": step, "not_finite": what, "gradient_norm": norm_said, "causes": causes}
        )
        self._write()
        if len(self.found) >= self._most:
            raise UserError(self._message())

    def _write(self) -> None:
        if self._file is None:
            return
        with explain_write_errors(self._file):
            if self.found:
                write_text_atomic(self._file, json.dumps(self.found, indent=1, ensure_ascii=False) + "\n")
            else:
                self._file.unlink(missing_ok=True)

    def _message(self) -> str:
        last = self.found[-1]
        count = f"{len(self.found)} steps" if len(self.found) > 1 else "a step"
        where = "" if self._file is None else f"; all are in {self._file}"
        return (
            f"{count} had a loss or gradient that is not finite: at step {last['step']} of {last['stage']} "
            f"the {last['not_finite']}, on {_said(last['causes'])}{where}: look at those recordings, or "
            "lower the learning rate"
        )


def _each_once(causes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Several processes may have had the same: where all do the same, or where one was left without any."""
    return [one for place, one in enumerate(causes) if one not in causes[:place]]


def _said(causes: Sequence[dict[str, Any]], most: int = 5) -> str:
    """The first few causes, in words."""
    words = []
    for one in causes[:most]:
        ids = one["utterances"]
        of = f"'{one['person']}': " if "person" in one else ""
        words.append(of + ", ".join(ids[:most]) + (f" and {len(ids) - most} more" if len(ids) > most else ""))
    rest = f" and {len(causes) - most} more" if len(causes) > most else ""
    return "; ".join(words) + rest
