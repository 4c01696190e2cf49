"""Stages of one run, in order: what ended before, with the same options and the same files, is skipped."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from perser.distributed import processes
from perser.io.files import write_text_atomic
from perser.io.json_files import to_json_value
from perser.training.options import RunOptions


class Stages:
    """Runs stages; remembers in `out/stages/` which ended, with which options, after which."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._keys: dict[str, str] = {}

    def run(
        self,
        name: str,
        function: Callable[..., None],
        options: dict[str, Any],
        made: Path | None = None,
        after: tuple[str, ...] = (),
        sources: tuple[str, ...] = (),
        alone: bool = False,
        again: bool = False,
        resumes: bool = False,
    ) -> None:
        """Run the stage unless it ended before with the same options, after the same stages, and what it
        made (its `out`, if not said) is still there.

        `after`: the stages whose work it reads; where one of them ran anew, so does this one.
        `sources`: the options that may name files which were there before the run: a corpus's root, a
        model's folder. The stage runs again where those changed.
        `alone`: of several processes the main one does it for all. `again`: also if it ended before.
        `resumes`: the function takes `resume`, whether it may go on with what it had got to when it was
        stopped: only if it was begun with these options, after the same stages.
        """
        # How a training is kept safe changes nothing of what it makes.
        chosen = {key: one for key, one in options.items() if not isinstance(one, RunOptions)}
        described = json.dumps(to_json_value(chosen), sort_keys=True)
        before = [self._keys[one] for one in after]
        read = [_state(options[one]) for one in sources]
        key = hashlib.sha256(json.dumps([before, name, described, read]).encode()).hexdigest()
        self._keys[name] = key
        record = self._out / "stages" / f"{name}.json"
        there = (made or Path(options["out"])).exists()
        known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        ended = there and known.get("key") == key
        if resumes:
            options = options | {"resume": known.get("begun") == key}
        launched = processes()
        launched.wait_for_everyone()  # all have looked
        if ended and not again:
            launched.print(f"{name}: finished before, skipped", file=sys.stderr)
            return
        launched.print(f"{name}: started", file=sys.stderr)
        started = time.perf_counter()
        if launched.is_main_process:
            # What is there is no longer a finished stage's.
            write_text_atomic(record, json.dumps({"begun": key}) + "\n")
        if launched.is_main_process or not alone:
            function(**options)
        launched.wait_for_everyone()
        seconds = round(time.perf_counter() - started, 1)
        if launched.is_main_process:
            finished = {"key": key, "seconds": seconds, "options": json.loads(described)}
            write_text_atomic(record, json.dumps(finished, indent=1) + "\n")
        launched.print(f"{name}: {seconds:.0f} s", file=sys.stderr)

    def forget_others(self) -> None:
        """Remove the records of stages that this run has not had: their work is not part of it."""
        if not processes().is_main_process:
            return
        for record in (self._out / "stages").glob("*.json"):
            if record.stem not in self._keys:
                record.unlink()


def _state(place: str | Path | None) -> str:
    """A digest of the names, sizes and times of change of the files there; empty where there is no such
    file or folder (a Hub name, a built-in one)."""
    if place is None or not Path(place).exists():
        return ""
    digest = hashlib.sha256()
    for name, path in _files(Path(place)):
        found = path.stat()
        digest.update(f"{name}\t{found.st_size}\t{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _files(place: Path) -> Iterator[tuple[str, Path]]:
    if place.is_file():
        yield place.name, place
        return
    for path in sorted(place.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(place)), path
