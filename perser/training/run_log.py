"""What a training found at each step, one JSON object a line.

With what a training was started, and what it said, in its run's folder.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perser.distributed import processes
from perser.environment import describe_environment
from perser.io.files import append_line, explain_write_errors

METRICS = "metrics.jsonl"


class RunLog:
    """Appends lines `{"stage", "step", ..., "seconds"}` to a file; nothing but `seconds`, counted from the
    training's first start, differs between two runs alike.

    Args:
        file: made where there is none; None: nothing is written.
        size: bytes of it to keep, which a checkpoint told: what came after will come again.
        seconds: how long the training had taken by then.
    """

    def __init__(self, file: Path | None, size: int = 0, seconds: float = 0.0) -> None:
        self._file = file
        self._began = time.perf_counter() - seconds
        if file is None:
            return
        with explain_write_errors(file):
            file.touch()
            if file.stat().st_size > size:
                os.truncate(file, size)

    @property
    def seconds(self) -> float:
        """Since the training's first start, times between a kill and the next start apart."""
        return time.perf_counter() - self._began

    @property
    def size(self) -> int:
        """Bytes written by now."""
        return self._file.stat().st_size if self._file is not None and self._file.exists() else 0

    @property
    def lines(self) -> int:
        """Written by now."""
        if self._file is None:
            return 0
        with self._file.open("rb") as stream:
            return sum(1 for _ in stream)

    def log(self, stage: str, step: int, values: dict[str, Any]) -> None:
        """One line. Raises UserError where it cannot be written."""
        if self._file is None:
            return
        known = {name: None if _is_not_finite(value) else value for name, value in values.items()}
        line = {"stage": stage, "step": step} | known | {"seconds": round(self.seconds, 3)}
        append_line(self._file, json.dumps(line))


def _is_not_finite(value: object) -> bool:
    """JSON has no word for it."""
    return isinstance(value, float) and not math.isfinite(value)


ENVIRONMENT, LOG = "environment.jsonl", "log.txt"


def note_start(folder: Path) -> None:
    """One more line of `environment.jsonl`, and of the log. Raises UserError where they cannot be written."""
    facts = describe_environment() | {
        "processes": processes().num_processes,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": _now(),
    }
    append_line(folder / ENVIRONMENT, json.dumps(facts))
    note(folder, f"started with {facts['processes']} processes on {facts['device']}")


def note(folder: Path, message: str) -> None:
    """One more line of the log."""
    append_line(folder / LOG, f"{_now()} {message}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
