"""Run single checks and write down what each of them found, one JSON line each, at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from perser.errors import one_line

Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Settings:
    """What every part is given.

    Args:
        device: `cuda`, or `cpu` where there is no GPU.
        quick: fewer shapes and rounds.
        folder: where a part may write.
    """

    device: str
    quick: bool
    folder: Path

    @property
    def has_gpu(self) -> bool:
        return self.device == "cuda"


@dataclass(frozen=True)
class Seen:
    """What a check saw.

    Args:
        text: in a few words.
        figures: the same in numbers, by name.
        passed: whether it is as it should be.
    """

    text: str
    figures: dict[str, float] = field(default_factory=dict)
    passed: bool = True


@dataclass(frozen=True)
class Finding:
    """The result of one check of a part."""

    part: str
    check: str
    status: Status
    text: str
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)


Check = tuple[str, Callable[[], Seen]]
"""A check's name, and the function that makes it."""


class NotHere(Exception):
    """Raised by a check that cannot be made on this machine. The message says why."""


def require(*packages: str) -> None:
    """Raise NotHere if a package is not installed."""
    if missing := [package for package in packages if find_spec(package) is None]:
        raise NotHere(f"needs {', '.join(missing)}, not installed here")


def run_check(part: str, check: str, function: Callable[[], Seen]) -> Finding:
    """Make one check. An error becomes a failure, and a missing package a skipped check."""
    started = time.perf_counter()
    try:
        seen = function()
        status: Status = "passed" if seen.passed else "failed"
        text, figures = seen.text, seen.figures
    except NotHere as reason:
        status, text, figures = "skipped", str(reason), {}
    except ModuleNotFoundError as error:
        status, text, figures = (
            "skipped",
            f"needs {error.name or one_line(str(error))}, not installed here",
            {},
        )
    except (Exception, SystemExit) as error:  # whatever it is, the checks after this one are still made
        status, text, figures = "failed", one_line(f"{type(error).__name__}: {error}"), {}
    return Finding(part, check, status, text, time.perf_counter() - started, figures)


def write_finding(file: Path, finding: Finding) -> None:
    """Append a finding to a file of JSON lines. It is on the disk when this returns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(finding)) + "\n")


def read_findings(file: Path) -> Iterator[Finding]:
    """Yield the findings in a file; a last line that was cut off is left out."""
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            content: dict[str, Any] = json.loads(line)
            yield Finding(**content)
