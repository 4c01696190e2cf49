"""What a training writes down about itself in its run's folder: every step, every start, every message."""

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

METRICS, ENVIRONMENT, LOG = "metrics.jsonl", "environment.jsonl", "log.txt"


class MetricsLog:
    """Writes `metrics.jsonl`: a line `{"stage", "step", ..., "seconds"}` a step.

    Two runs of the same training differ in `seconds` alone, which counts from the first start.

    Args:
        file: created where it is missing; None: nothing is written.
        size: bytes of it to keep, as the checkpoint says: the steps after it will be taken again.
        seconds: how long the training had taken by then.
    """

    def __init__(self, file: Path | None, size: int = 0, seconds: float = 0.0) -> None:
        self._file = file
        self._start = time.perf_counter() - seconds
        if file is None:
            return
        with explain_write_errors(file):
            file.touch()
            if file.stat().st_size > size:
                os.truncate(file, size)

    @property
    def seconds(self) -> float:
        """Seconds since the training's first start, without the times between a stop and the next start."""
        return time.perf_counter() - self._start

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._file.stat().st_size if self._file is not None and self._file.exists() else 0

    @property
    def num_lines(self) -> int:
        """Lines written so far."""
        if self._file is None:
            return 0
        with self._file.open("rb") as stream:
            return sum(1 for _ in stream)

    def write(self, stage: str, step: int, values: dict[str, Any]) -> None:
        """Append one line. Raises UserError where it cannot be written."""
        if self._file is None:
            return
        finite = {name: None if _is_not_finite(value) else value for name, value in values.items()}
        line = {"stage": stage, "step": step} | finite | {"seconds": round(self.seconds, 3)}
        append_line(self._file, json.dumps(line))


def log_start(folder: Path) -> None:
    """Append what this start runs on to `environment.jsonl`, and that it started to `log.txt`.

    Raises UserError where they cannot be written.
    """
    environment = describe_environment() | {
        "processes": processes().num_processes,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": _now(),
    }
    append_line(folder / ENVIRONMENT, json.dumps(environment))
    log_message(folder, f"started with {environment['processes']} processes on {environment['device']}")


def log_message(folder: Path, message: str) -> None:
    """Append a message to `log.txt`."""
    append_line(folder / LOG, f"{_now()} {message}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _is_not_finite(value: object) -> bool:
    """Return whether JSON has no number for it."""
    return isinstance(value, float) and not math.isfinite(value)
