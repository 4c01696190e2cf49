"""With what a training was started, and what it said, in its run's folder."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from perser.environment import circumstances
from perser.folders import append_line
from perser.processes import processes

ENVIRONMENT, LOG = "environment.jsonl", "log.txt"


def note_start(folder: Path) -> None:
    """One more line of `environment.jsonl`, and of the log. Raises UserError where they cannot be written."""
    facts = circumstances() | {
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
