"""Run the parts one after the other, each in its own process with a time limit; write what they find.

A process of its own gives its GPU memory back when it ends, and can be stopped without harm to the others.
Findings are in gpu.json as soon as they are made, so that a run that is cut off keeps what it had.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.findings import Finding, Seen, Settings, read_findings, run_check, write_finding
from perser.io.json_files import write_json

RESULTS = "gpu.json"

POLL_SECONDS = 0.1

MOST_SECONDS = 8 * 60
"""The parts' limits add up to less: a GPU may be lent for minutes only."""


@dataclass(frozen=True)
class Part:
    """One part of the run.

    Args:
        module: has a function `checks(settings)`, which yields the part's checks.
        seconds: its time limit.
    """

    module: str
    seconds: float


PARTS = {
    "environment": Part("benchmarks.gpu.environment", 25),
    "agreement": Part("benchmarks.gpu.agreement", 50),
    "smoke": Part("benchmarks.gpu.smoke", 65),
    "shapes": Part("benchmarks.gpu.shapes", 155),
    "language-models": Part("benchmarks.gpu.language_models", 75),
    "launches": Part("benchmarks.gpu.launches", 105),
}

Show = Callable[[Finding], object]


def run_part(name: str, settings: Settings) -> None:
    """Make the checks of a part in this process, and append each finding to the part's file."""
    file = findings_file(settings.folder, name)
    modules: list[Any] = []

    def load() -> Seen:
        modules.append(import_module(PARTS[name].module))
        return Seen("imported")

    loaded = run_check(name, "import", load)
    if loaded.status != "passed":
        write_finding(file, loaded)
        return
    work = settings.folder / "work" / name
    shutil.rmtree(work, ignore_errors=True)  # of an earlier run
    for check, function in modules[0].checks(replace(settings, folder=work)):
        write_finding(file, run_check(name, check, function))
        _free_memory(settings)


def _free_memory(settings: Settings) -> None:
    """Free the models of the last check: large ones fit onto a GPU one at a time."""
    gc.collect()
    if settings.has_gpu:
        torch.cuda.empty_cache()


def run_parts(
    settings: Settings,
    show: Show,
    parts: Mapping[str, Part] = PARTS,
    environment: Mapping[str, str] = os.environ,
) -> list[Finding]:
    """Run all parts and return their findings.

    Args:
        settings: of the run; its folder holds gpu.json, and a log of each part.
        show: called with each finding when it is made.
        parts: by name.
        environment: variables of the parts' processes.
    """
    findings: list[Finding] = []
    seconds: dict[str, float] = {}
    save_results(settings, findings, seconds)
    for name, part in parts.items():
        findings_file(settings.folder, name).unlink(missing_ok=True)

        def add(finding: Finding) -> None:
            findings.append(finding)
            show(finding)
            save_results(settings, findings, seconds)

        started = time.perf_counter()
        _run_in_process(name, part, settings, environment, add)
        seconds[name] = time.perf_counter() - started
        save_results(settings, findings, seconds)
    return findings


def _run_in_process(
    name: str, part: Part, settings: Settings, environment: Mapping[str, str], add: Show
) -> None:
    """Run a part in a process of its own, up to its time limit; add its findings as it makes them."""
    added = 0

    def add_new() -> None:
        nonlocal added
        for finding in list(read_findings(findings_file(settings.folder, name)))[added:]:
            add(finding)
            added += 1

    log = settings.folder / f"{name}.log"
    deadline = time.monotonic() + part.seconds
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            part_command(name, settings),
            stdout=stream,
            stderr=stream,
            env=dict(environment),
            start_new_session=True,
        )
        try:
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                add_new()
        finally:
            in_time = process.poll() is not None
            _end(process)
    add_new()
    if not in_time:
        add(Finding(name, "time limit", "failed", f"stopped after {part.seconds:g} s", part.seconds))
    elif process.returncode:
        add(Finding(name, "process", "failed", f"ended with status {process.returncode}: see {log}"))


def part_command(name: str, settings: Settings) -> list[str]:
    """Return the command that runs one part."""
    words = [sys.executable, "-m", "benchmarks.gpu", f"--part={name}", f"--out={settings.folder}"]
    return [*words, "--quick"] if settings.quick else words


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a part's process, and every process that it has started; on Windows, the part's alone."""
    with suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def findings_file(folder: Path, name: str) -> Path:
    """Return the file of a part's findings."""
    return folder / f"{name}.jsonl"


def save_results(settings: Settings, findings: Sequence[Finding], seconds: Mapping[str, float]) -> None:
    """Write gpu.json anew: all findings so far, and the seconds of the parts that have ended."""
    content = {
        "device": settings.device,
        "quick": settings.quick,
        "seconds": dict(seconds),
        "findings": [asdict(finding) for finding in findings],
    }
    settings.folder.mkdir(parents=True, exist_ok=True)
    write_json(settings.folder / RESULTS, content)
