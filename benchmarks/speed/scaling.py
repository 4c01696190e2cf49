"""python -m benchmarks.speed.scaling [--preset quick] [--json FILE]

Measure what a second process brings: the steps of the three trainings by two processes of one thread each,
which share every step's batch, against one process of one thread.
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

from benchmarks.speed.scaling_trainings import ScalingPresetName
from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import check_outputs
from perser.io.json_files import write_json

RATIO_OF = "meta-train"
"""The training whose ratio, in persons a second, stands for all."""

COUNTS = {"one": 1, "two": 2}
"""Numbers of processes, by the names that they have in the JSON file."""

HEADINGS = (
    "items a step",
    "s a step, one",
    "s a step, two",
    "items/s, one",
    "items/s, two",
    "ratio",
    "reduced, MB",
)


def scaling(
    preset: ScalingPresetName = "quick", rounds: int = 3, json: Path | None = None, seed: int = 0
) -> None:
    """Measure how much faster two processes train than one, with one thread each, on two quiet cores.

    Args:
        preset: quick, full (wider, more clips), or tiny (a check that it runs; its figures mean nothing).
        rounds: how often each is run; medians over all their steps are compared.
        json: a file for every figure; none: print the table only.
        seed: of weights, speech and batches.
    """
    if rounds < 1:
        raise UserError(f"rounds: {rounds}, give at least 1")
    check_outputs(files={"json": json})
    from rich.console import Console

    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in COUNTS}
    for _ in range(rounds):
        for name, runs in measured.items():
            runs.append(_run_trainings(COUNTS[name], preset, seed))
    trainings = {name: _compare(name, measured) for name in measured["one"][0]}
    console = Console(width=112, highlight=False)
    console.print(_table(trainings))
    ratio = trainings[RATIO_OF]["two_processes_vs_one"]
    console.print(f"two_processes_vs_one: {ratio:.2f}")
    if json is not None:
        figures = {"ratios": {"two_processes_vs_one": ratio}, "preset": preset, "trainings": trainings}
        write_json(json, figures)


def _table(trainings: dict[str, dict[str, Any]]) -> Any:
    """Return a rich table of the trainings' figures."""
    from rich.table import Table

    table = Table("training")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for name, figures in trainings.items():
        cells = (
            f"{figures['items_per_step']}",
            *(f"{figures['seconds'][count]:.3f}" for count in COUNTS),
            *(f"{figures['items_per_second'][count]:.2f}" for count in COUNTS),
            f"{figures['two_processes_vs_one']:.2f}",
            f"{figures['reduced_bytes'] / 1e6:.2f}",
        )
        table.add_row(name, *cells)
    return table


def _compare(training: str, measured: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return one training's seconds and items a second by number of processes, the ratio of the throughputs,
    and the bytes of the gradients that the processes average in a step."""
    runs = {count: [run[training] for run in measured[count]] for count in COUNTS}
    seconds = {
        count: median(step for run in of_count for step in run["seconds"]) for count, of_count in runs.items()
    }
    items = runs["one"][0]["items_per_step"]
    return {
        "items_per_step": items,
        "seconds": seconds,
        "items_per_second": {count: items / taken for count, taken in seconds.items()},
        "two_processes_vs_one": seconds["one"] / seconds["two"],
        "reduced_bytes": runs["two"][0]["reduced_bytes"],
        "rounds": {count: [run["seconds"] for run in of_count] for count, of_count in runs.items()},
    }


def _run_trainings(processes: int, preset: ScalingPresetName, seed: int) -> dict[str, Any]:
    """Run `scaling_trainings` in so many processes; return its figures. Raises UserError if it fails."""
    launch = []
    if processes > 1:
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    with TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        options = [f"--out={out}", f"--preset={preset}", f"--seed={seed}"]
        command = [sys.executable, *launch, "-m", "benchmarks.speed.scaling_trainings", *options]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
            raise UserError(f"{processes} processes: {last}")
        return json_format.loads(out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_command(scaling)
