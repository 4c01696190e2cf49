"""python -m benchmarks.results_page --runs '[runs/cremad_listeners, runs/cremad_speakers]'

Write the page of measured results, benchmarks/RESULTS.md, and a page for each run in benchmarks/results, from
finished runs.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
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

FOLD_OR_SIZE = re.compile(r"^(?:(?:fold|turn)-\d+ )?(?:train-seed-\d+ )?| k=\d+$")
"""What the records of one stage differ in: the fold (`turn` in version 0.1.0), the training seed, or the size
of the support."""


MOST_TABLES = 10
"""The page of all runs has at most so many tables: one for each run, in their order."""

RUN_PAGES = "results"
"""The folder of the runs' own pages, beside the page of all runs."""


def results_page(runs: list[Path], out: Path = Path("benchmarks/RESULTS.md")) -> None:
    """Put finished runs on the page, each with its command, verdict and main table, and all figures on a page
    of its own in the folder `results` beside it.

    A run whose title is on the page already replaces its section there; other sections stay as they are.

    Args:
        runs: folders that `perser experiment` wrote; new sections are added in this order.
        out: the Markdown file of all runs.
    """
    check_outputs(files={"out": out})
    templates = environment()
    found = [_run(Path(folder)) for folder in runs]
    head, new = _sections(templates.get_template("results.md.jinja").render(runs=found))
    _, before = _sections(out.read_text(encoding="utf-8")) if out.exists() else (head, {})
    own = templates.get_template("run_results.md.jinja")
    pages = {out.parent / run["page"]: own.render(run=run).rstrip() + "\n" for run in found}
    for page, text in pages.items():
        page.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(page, text)
    write_text_atomic(out, (head + "".join(_with_few_tables((before | new).values()))).rstrip() + "\n")


def _sections(page: str) -> tuple[str, dict[str, str]]:
    """Divide a page into the text before the first run, and each run's section by its heading."""
    head, *sections = re.split(r"(?m)^(?=## )", page)
    return head, {section.partition("\n")[0]: section.rstrip() + "\n\n" for section in sections}


def _with_few_tables(sections: Iterable[str]) -> Iterator[str]:
    """Yield the sections, without the tables of those after the first MOST_TABLES tables."""
    tables = 0
    for section in sections:
        tables += section.count("\n|---")
        yield section if tables <= MOST_TABLES else re.sub(r"(?m)^\|.*\n", "", section)


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
        "page": f"{RUN_PAGES}/{_slug(results['meta']['title'])}.md",
        "stages": stages,
        "seconds": sum(stages.values()),
        "comparisons": make_comparisons(results, _optional(folder / COSTS) or []),
        "reference": _optional(folder / REFERENCE),
        "controls": _optional(folder / "controls" / CONTROLS),
    }


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


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
