"""Run the stages of an experiment, and skip those that were finished with the same options and files."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from perser.distributed import processes
from perser.io.checksums import json_sha256
from perser.io.files import write_text_atomic
from perser.io.json_files import to_json_value, write_json
from perser.training.earlier_versions import downgrade_options
from perser.training.options import RunOptions


class Stages:
    """Runs stages, and records in `out/stages/` which were finished, with which options, after which ones."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._keys: dict[str, str] = {}

    def run(
        self,
        name: str,
        function: Callable[..., None],
        options: Mapping[str, Any],
        made: Path | None = None,
        after: tuple[str, ...] = (),
        sources: tuple[str, ...] = (),
        alone: bool = False,
        again: bool = False,
        resumes: bool = False,
        outdated: Callable[[], str] | None = None,
    ) -> None:
        """Run a stage, unless its output exists and was made with the same options, after the same stages.

        Args:
            name: of the stage and its record.
            function: does the stage's work, from `options`.
            options: what a stage is known by, apart from `RunOptions`, which do not change what it makes.
            made: its output; none: its option `out`.
            after: the stages whose output it reads; if one of them ran anew, so does this one.
            sources: the options that may name files from outside the run, such as a corpus's root; the stage
                runs again if those files change.
            alone: of several processes only the main one runs it.
            again: run it even if it was finished.
            resumes: the function takes `resume`: whether it may go on from where it was stopped, which it may
                if it was begun with these options, after the same stages.
            outdated: asked where the stage was finished: why its output no longer counts, and all stages run
                again; empty where it does.
        """
        chosen = {key: value for key, value in options.items() if not isinstance(value, RunOptions)}
        described = json.dumps(to_json_value(chosen), sort_keys=True)
        record = self._out / "stages" / f"{name}.json"
        exists = (made or Path(options["out"])).exists()
        known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        before = [self._keys[stage] for stage in after]
        read = [_state(options[source]) for source in sources]
        key = json_sha256([before, name, described, read])
        earlier_key = json_sha256([before, name, _as_described_earlier(function, described), read])
        if earlier_key in (known.get("key"), known.get("begun")):
            key = earlier_key  # version 0.1.0 finished or started it
        self._keys[name] = key
        ended = exists and known.get("key") == key
        reason = outdated() if ended and outdated is not None else ""
        if resumes:
            options = {**options, "resume": known.get("begun") == key}
        launched = processes()
        launched.wait_for_everyone()  # until all have read the record, which the main process replaces below
        if reason:
            launched.print(f"{name}: {reason}; everything is run again", file=sys.stderr)
            self._forget(kept=set())
        elif ended and not again:
            launched.print(f"{name}: finished before, skipped", file=sys.stderr)
            return
        self._make(name, function, options, key, described, alone)

    def _make(
        self,
        name: str,
        function: Callable[..., None],
        options: Mapping[str, Any],
        key: str,
        described: str,
        alone: bool,
    ) -> None:
        """Run the function, and record that it was begun and then that it was finished."""
        record, launched = self._out / "stages" / f"{name}.json", processes()
        launched.print(f"{name}: started", file=sys.stderr)
        started = time.perf_counter()
        if launched.is_main_process:
            # The output of an earlier run no longer counts as finished.
            write_text_atomic(record, json.dumps({"begun": key}) + "\n")
        if launched.is_main_process or not alone:
            function(**options)
        launched.wait_for_everyone()
        seconds = round(time.perf_counter() - started, 1)
        if launched.is_main_process:
            finished = {"key": key, "seconds": seconds, "options": json.loads(described)}
            write_json(record, finished)
        launched.print(f"{name}: {seconds:.0f} s", file=sys.stderr)

    def knows(self, name: str) -> bool:
        """Return whether this process has run the stage, or found it finished."""
        return name in self._keys

    def forget_others(self) -> None:
        """Remove the records of stages that this run does not have."""
        self._forget(kept=set(self._keys))

    def _forget(self, kept: set[str]) -> None:
        if not processes().is_main_process:
            return
        for record in (self._out / "stages").glob("*.json"):
            if record.stem not in kept:
                record.unlink()


def _as_described_earlier(function: Callable[..., None], described: str) -> str:
    """Return a stage's options, in JSON, as version 0.1.0 wrote them."""
    command = getattr(function, "__name__", "").replace("_", "-")
    return json.dumps(downgrade_options(command, json.loads(described)), sort_keys=True)


def _state(path: str | Path | None) -> str:
    """Return a digest of the names, sizes and modification times of the files at a path; empty if there are
    none, as for a Hub name or a built-in model."""
    if path is None or not Path(path).exists():
        return ""
    digest = hashlib.sha256()
    for name, file in _files(Path(path)):
        status = file.stat()
        digest.update(f"{name}\t{status.st_size}\t{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield path.name, path
        return
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield str(file.relative_to(path)), file
