"""Launch the trainings in one process, by `accelerate launch` and the files for one machine.

One process is enough for NCCL to start, to average gradients and to gather shards.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.findings import Check, NotHere, Seen, Settings
from benchmarks.gpu.plain_copy import ROOT

CONFIGS = ROOT / "configs" / "accelerate"

FILES = ("one_gpu", "ddp", "fsdp")

DISTRIBUTED = ("ddp", "fsdp")
"""Files whose processes form a group, also if there is only one of them."""

TOLERANCE = 1e-5
"""Largest distance of the gradients of a sharded module from those of the module in full, relative."""


def checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks of this part."""
    for name in FILES:
        yield f"accelerate launch, {name}.yaml", partial(launch, name, settings)


def launch(name: str, settings: Settings) -> Seen:
    """Launch `benchmarks.gpu.launched` and check what it reports about its process group."""
    if not (CONFIGS / f"{name}.yaml").is_file():
        raise NotHere(f"needs {CONFIGS / name}.yaml, which only a copy of the source tree has")
    settings.folder.mkdir(parents=True, exist_ok=True)
    out = settings.folder / f"{name}.json"
    done = subprocess.run(
        launch_command(name, out), env=launch_environment(settings), capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        return Seen(f"exit status {done.returncode}: {reason_in(done.stderr)}", passed=False)
    return seen_of(name, json.loads(out.read_text(encoding="utf-8")), settings)


def reason_in(errors: str) -> str:
    """Return why a launched process failed: its own last error, which stands before the launcher's report.

    Raises ModuleNotFoundError if it lacks a package.
    """
    if missing := re.search(
        r"^(?:\[\w+\]: ?)?ModuleNotFoundError: No module named '([\w.]+)'", errors, re.MULTILINE
    ):
        raise ModuleNotFoundError(missing[0], name=missing[1])
    lines = errors.strip().splitlines() or ["it printed nothing"]
    own = [line for line in lines if re.match(r"(?:\[\w+\]: ?)?[\w.]*Error: |perser: error", line)]
    return [*lines[-1:], *own[:1]][-1]


def launch_command(name: str, out: Path) -> list[str]:
    """Return the command, with accelerate's program run by this Python."""
    words = ["-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / f"{name}.yaml")]
    return [sys.executable, *words, "--num_processes", "1", "-m", "benchmarks.gpu.launched", str(out)]


def launch_environment(settings: Settings) -> dict[str, str]:
    """Return the variables of a launch. Without a GPU, processes form a group by gloo."""
    return {**os.environ, **({} if settings.has_gpu else {"ACCELERATE_USE_CPU": "true"})}


def seen_of(name: str, report: dict[str, Any], settings: Settings) -> Seen:
    """Say what a launched process reports, and whether it is what its file asks for."""
    expected = ("nccl" if settings.has_gpu else "gloo") if name in DISTRIBUTED else None
    figures = {f"{training}, s a step": seconds for training, seconds in report["seconds"].items()}
    text = f"backend {report['backend']}, on {report['device']}, {len(figures)} trainings"
    passed = report["backend"] == expected and report["device"].startswith(settings.device)
    if name == "fsdp":
        far = figures["distance"] = report["sharded_distance"]
        text += f", gradients of a sharded module {far:.1e} apart (at most {TOLERANCE:.0e})"
        passed = passed and far <= TOLERANCE
    return Seen(text, figures, passed)
