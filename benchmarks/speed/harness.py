"""python -m benchmarks.speed.harness --run runs/quickstart [--json FILE]

What the harness itself takes of a finished run: of all the time from the corpus to the report, what no method
spent on training, loading, personalizing or predicting.
"""

from __future__ import annotations

import tempfile
import time
from json import dumps, loads
from pathlib import Path

from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import write_text_atomic


def harness(run: Path, json: Path | None = None) -> None:
    """What of a finished run's time is the harness's own: reading and keeping, scores, statistics, report.

    Args:
        run: the folder of a finished `perser experiment` or `perser quickstart`.
        json: a file for the figures; none: the table alone.
    """
    from rich.console import Console

    from benchmarks.measuring.measure import predictions_of
    from benchmarks.measuring.predictions import Predictions
    from benchmarks.results import write_results

    records = [loads(one.read_text(encoding="utf-8")) for one in (run / "stages").glob("*.json")]
    if not records or not (run / "results.json").exists():
        raise UserError(f"{run} is no finished run: give the folder of one")
    stages = sum(one["seconds"] for one in records)
    measuring = [one for one in records if "case" in one["options"]]
    folders = [
        predictions_of(Path(one["options"]["out"]), one["options"]["case"]["limit"]) for one in measuring
    ]
    cells = [Predictions.load(path) for folder in folders for path in folder.glob("*/*.parquet")]
    answering = sum(
        one.seconds_personalize + one.seconds_predict * len(one.probabilities)
        for cell in cells
        for one in cell.answers
    )
    loading = sum(cell.origin.seconds_build for cell in cells)
    scores = [Path(one["options"]["out"]) for one in measuring]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        write_results(scores, Path(folder), "timed")
    reporting = time.perf_counter() - started
    around = sum(one["seconds"] for one in measuring) - answering - loading
    figures = {
        "seconds": {
            "whole run": stages + reporting,
            "loading": loading,
            "answering": answering,
            "around the answers": around,
            "results and report": reporting,
        },
        "ratios": {"harness_vs_run": (around + reporting) / (stages + reporting)},
    }
    console = Console(highlight=False)
    for name, seconds in figures["seconds"].items():
        console.print(f"{name}: {seconds:.1f} s")
    console.print(f"harness_vs_run: {figures['ratios']['harness_vs_run']:.4f}")
    if json is not None:
        write_text_atomic(json, dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    run_command(harness)
