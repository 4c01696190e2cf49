"""python -m benchmarks.results_page --runs '[runs/cremad_listeners, runs/cremad_speakers]'

The page of measured tables, generated from finished runs.
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
from benchmarks.reporting.comparisons import comparisons
from benchmarks.reporting.templates import environment
from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import write_text_atomic


def results_page(runs: list[Path], out: Path = Path("benchmarks/RESULTS.md")) -> None:
    """Put the tables of finished runs, and the commands that made them, on the page.

    A run that is on the page already, by its title, is replaced where it stands; the others stay as they
    are.

    Args:
        runs: folders that `perser experiment` wrote; new ones follow in this order.
        out: the Markdown file.
    """
    template = environment().get_template("results.md.jinja")
    head, made = _sections(template.render(runs=[_run(Path(one)) for one in runs]))
    _, before = _sections(out.read_text(encoding="utf-8")) if out.exists() else (head, {})
    write_text_atomic(out, (head + "".join((before | made).values())).rstrip() + "\n")


def _sections(page: str) -> tuple[str, dict[str, str]]:
    """What stands before the first run, and every run's section by its heading."""
    head, *sections = re.split(r"(?m)^(?=## )", page)
    return head, {one.partition("\n")[0]: one.rstrip() + "\n\n" for one in sections}


def _run(folder: Path) -> dict[str, Any]:
    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        command = (folder / COMMAND_FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} is no finished experiment (no {Path(error.filename).name}): run it"
        ) from None
    stages = _seconds(folder / "stages")
    return {
        "meta": results["meta"],
        "command": command,
        "stages": stages,
        "seconds": sum(stages.values()),
        "comparisons": comparisons(results, _beside(folder / COSTS) or []),
        "reference": _beside(folder / REFERENCE),
        "controls": _beside(folder / "controls" / CONTROLS),
    }


def _beside(file: Path) -> Any:
    """What else a run may have; None where it has not."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def _seconds(records: Path) -> dict[str, float]:
    """Seconds by stage, summed over the turns and the sizes of the support, in the order of their work."""
    seconds: dict[str, float] = defaultdict(float)
    for path in sorted(records.glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
        stage = re.sub(r"^(fold|turn)-\d+ | k=\d+$", "", path.stem)
        seconds[stage] += json.loads(path.read_text(encoding="utf-8")).get("seconds", 0.0)
    return dict(seconds)


if __name__ == "__main__":
    run_command(results_page)
