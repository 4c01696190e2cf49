"""python -m benchmarks.speed.scaling [--preset quick] [--json FILE]

What a second process is worth: steps of the three trainings by two processes of one thread each, which share
every step's batch, against one process of one thread.
"""

from __future__ import annotations

import json as json_format
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.speed.scaling_trainings import PresetName
from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import write_text_atomic

RATIO_OF = "meta-train"
"""The training whose ratio is the one that is promised: persons a second."""


def scaling(preset: PresetName = "quick", rounds: int = 3, json: Path | None = None, seed: int = 0) -> None:
    """How much faster two processes train than one, one thread each, on a machine with two quiet cores.

    Args:
        preset: quick, full (wider, more clips), or tiny (whether it runs; its figures mean nothing).
        rounds: turns that both have; medians over all their steps are compared.
        json: a file for every figure; none: the table alone.
        seed: of weights, speech and batches.
    """
    if rounds < 1:
        raise UserError(f"rounds: {rounds}, give at least 1")
    from rich.console import Console
    from rich.table import Table

    measured: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    for _ in range(rounds):
        for processes, found in measured.items():
            found.append(_trained(processes, preset, seed))
    table = Table("training")
    headings = (
        "items a step",
        "s a step, one",
        "s a step, two",
        "items/s, one",
        "items/s, two",
        "ratio",
        "reduced, MB",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    trainings = {name: _compared(name, measured) for name in measured[1][0]}
    for name, one in trainings.items():
        figures = (
            f"{one['items_per_step']}",
            *(f"{one['seconds'][who]:.3f}" for who in ("one", "two")),
            *(f"{one['items_per_second'][who]:.2f}" for who in ("one", "two")),
            f"{one['two_processes_vs_one']:.2f}",
            f"{one['reduced_bytes'] / 1e6:.2f}",
        )
        table.add_row(name, *figures)
    console = Console(width=112, highlight=False)
    console.print(table)
    ratio = trainings[RATIO_OF]["two_processes_vs_one"]
    console.print(f"two_processes_vs_one: {ratio:.2f}")
    if json is not None:
        found = {"ratios": {"two_processes_vs_one": ratio}, "preset": preset, "trainings": trainings}
        write_text_atomic(json, json_format.dumps(found, indent=1) + "\n")


def _compared(name: str, measured: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    """Of one training: seconds and items by who took them, the ratio of the throughputs, and the bytes of the
    gradients that the processes take the mean of in a step."""
    runs = {who: [run[name] for run in measured[count]] for who, count in (("one", 1), ("two", 2))}
    seconds = {who: median(one for run in ran for one in run["seconds"]) for who, ran in runs.items()}
    items = runs["one"][0]["items_per_step"]
    return {
        "items_per_step": items,
        "seconds": seconds,
        "items_per_second": {who: items / taken for who, taken in seconds.items()},
        "two_processes_vs_one": seconds["one"] / seconds["two"],
        "reduced_bytes": runs["two"][0]["reduced_bytes"],
        "rounds": {who: [run["seconds"] for run in ran] for who, ran in runs.items()},
    }


def _trained(processes: int, preset: PresetName, seed: int) -> dict[str, Any]:
    """What `scaling_trainings` finds in so many processes. Raises UserError where it fails."""
    launch = []
    if processes > 1:
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    with TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        words = [
            "-m",
            "benchmarks.speed.scaling_trainings",
            f"--out={out}",
            f"--preset={preset}",
            f"--seed={seed}",
        ]
        done = subprocess.run(
            [sys.executable, *launch, *words], capture_output=True, text=True, env=environment
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise UserError(f"{processes} processes: {last}")
        return json_format.loads(out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_command(scaling)
