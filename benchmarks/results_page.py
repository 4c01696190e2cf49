"""python -m benchmarks.results_page --runs '[runs/cremad_listeners, runs/cremad_speakers]'

Write the page of measured results, benchmarks/RESULTS.md, from finished runs.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.experiment import COMMAND_FILE
from benchmarks.icl_controls import CONTROLS
from benchmarks.linear_probe import REFERENCE
from benchmarks.measuring.aggregate import COSTS
from benchmarks.reporting.comparisons import make_comparisons
from benchmarks.reporting.templates import environment
from benchmarks.results import read_results
from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import check_outputs, write_text_atomic

FOLD_OR_SIZE = re.compile(r"^(?:fold|turn)-\d+ | k=\d+$")
"""What the records of one stage differ in: the fold (`turn` in version 0.1.0), or the size of the support."""


def results_page(runs: list[Path], out: Path = Path("benchmarks/RESULTS.md")) -> None:
    """Put the tables of finished runs on the page, with the command that made each of them.

    A run whose title is on the page already replaces its section there; other sections stay as they are.

    Args:
        runs: folders that `perser experiment` wrote; new sections are added in this order.
        out: the Markdown file.
    """
    check_outputs(files=[out])
    template = environment().get_template("results.md.jinja")
    head, new = _sections(template.render(runs=[_run(Path(folder)) for folder in runs]))
    _, before = _sections(out.read_text(encoding="utf-8")) if out.exists() else (head, {})
    write_text_atomic(out, (head + "".join((before | new).values())).rstrip() + "\n")


def _sections(page: str) -> tuple[str, dict[str, str]]:
    """Divide a page into the text before the first run, and each run's section by its heading."""
    head, *sections = re.split(r"(?m)^(?=## )", page)
    return head, {section.partition("\n")[0]: section.rstrip() + "\n\n" for section in sections}


def _run(folder: Path) -> dict[str, Any]:
    """Return what the template shows of a run. Raises UserError where the run is not finished."""
    try:
        results = read_results(folder)
        command = (folder / COMMAND_FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} is no finished experiment (no {Path(error.filename).name}): run it"
        ) from None
    stages = _seconds_by_stage(folder / "stages")
    return {
        "meta": results["meta"],
        "command": command,
        "stages": stages,
        "seconds": sum(stages.values()),
        "comparisons": make_comparisons(results, _optional(folder / COSTS) or []),
        "reference": _optional(folder / REFERENCE),
        "controls": _optional(folder / "controls" / CONTROLS),
    }


def _optional(file: Path) -> Any:
    """Return the content of a JSON file that a run may lack; None where it is missing."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def _seconds_by_stage(records: Path) -> dict[str, float]:
    """Sum the seconds of each stage over folds and sizes of the support, in the order the stages ran."""
    seconds: dict[str, float] = defaultdict(float)
    for path in sorted(records.glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
        stage = FOLD_OR_SIZE.sub("", path.stem)
        seconds[stage] += json.loads(path.read_text(encoding="utf-8")).get("seconds", 0.0)
    return dict(seconds)


if __name__ == "__main__":
    run_command(results_page)
