"""python -m benchmarks.speed.harness --run runs/quickstart [--json FILE]

Measure what the harness itself takes of a finished run: of all the time from the corpus to the report, the
part in which no method was trained, loaded, personalized or asked.
"""

from __future__ import annotations

import tempfile
import time
from json import loads
from pathlib import Path

from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import check_outputs
from perser.io.json_files import write_json


def harness(run: Path, json: Path | None = None) -> None:
    """Measure the harness's share of a finished run: reading and writing, scores, statistics, report.

    Args:
        run: the folder of a finished `perser experiment` or `perser quickstart`.
        json: a file for the figures; none: print them only.
    """
    from rich.console import Console

    from benchmarks.measuring.measure import predictions_of
    from benchmarks.measuring.predictions import Predictions
    from benchmarks.results import write_results

    check_outputs(files={"json": json})
    stages = [loads(path.read_text(encoding="utf-8")) for path in (run / "stages").glob("*.json")]
    if not stages or not (run / "results.json").exists():
        raise UserError(f"{run} is no finished run: give the folder of a finished one")
    total = sum(stage["seconds"] for stage in stages)
    measuring = [stage for stage in stages if "case" in stage["options"]]
    folders = [
        predictions_of(Path(stage["options"]["out"]), stage["options"]["case"]["limit"])
        for stage in measuring
    ]
    cells = [Predictions.load(path) for folder in folders for path in folder.glob("*/*.parquet")]
    answering = sum(
        answer.seconds_personalize + answer.seconds_predict * len(answer.probabilities)
        for cell in cells
        for answer in cell.answers
    )
    loading = sum(cell.origin.seconds_build for cell in cells)
    scores = [Path(stage["options"]["out"]) for stage in measuring]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        write_results(scores, Path(folder), "timed")
    reporting = time.perf_counter() - started
    around = sum(stage["seconds"] for stage in measuring) - answering - loading
    figures = {
        "seconds": {
            "whole run": total + reporting,
            "loading": loading,
            "answering": answering,
            "around the answers": around,
            "results and report": reporting,
        },
        "ratios": {"harness_vs_run": (around + reporting) / (total + reporting)},
    }
    console = Console(highlight=False)
    for name, seconds in figures["seconds"].items():
        console.print(f"{name}: {seconds:.1f} s")
    console.print(f"harness_vs_run: {figures['ratios']['harness_vs_run']:.4f}")
    if json is not None:
        write_json(json, figures)


if __name__ == "__main__":
    run_command(harness)
