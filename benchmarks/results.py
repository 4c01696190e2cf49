"""Write and read the results of a run: results.json and the files that are made from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.ceiling.measure import measure_corpora
from benchmarks.measuring.aggregate import COSTS, aggregate_costs, aggregate_results
from benchmarks.measuring.scores import Scores
from benchmarks.paper.write_tables import write_paper_tables
from benchmarks.reporting.report import print_tables, write_report
from perser.io.json_files import write_json

RESULTS = "results.json"


def write_results(scores: Sequence[Path], out: Path, title: str, corpora: Sequence[Path] = ()) -> None:
    """Write results.json, costs.json, provenance.json, a report, plots and LaTeX tables from scores files.

    The report also says what the annotations of these corpora let expect (`perser ceiling`).

    The folds of a setting are pooled; each K has rows of its own. With one seed, results.json is the same
    every time except for the seconds. What else may differ between runs is in costs.json and provenance.json.
    """
    loaded = [Scores.load(path) for path in scores]
    results, costs = aggregate_results(loaded, title), aggregate_costs(loaded)
    provenance = {str(path): part.provenance for path, part in zip(scores, loaded, strict=True)}
    for name, content in ((RESULTS, results), (COSTS, costs), ("provenance.json", provenance)):
        write_json(out / name, content)
    write_report(results, out, costs, provenance, measure_corpora(corpora, out))
    write_paper_tables(results, out)


def read_results(folder: Path) -> dict[str, Any]:
    """Read the results.json of a run, of this version or of version 0.1.0.

    Raises FileNotFoundError where there is none.
    """
    return _upgraded(json.loads((folder / RESULTS).read_text(encoding="utf-8")))


def show(out: Path) -> None:
    """Print the tables of a finished run, and the paths of its report."""
    print_tables(read_results(out))
    for name in (RESULTS, "report.md", "report.html", "paper_tables.html", "plots", "tables"):
        if (out / name).exists():
            print(f"  {out / name}")


def _upgraded(results: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a results.json with this version's keys: 0.1.0 wrote `turns` for `folds`."""
    meta = {"folds" if key == "turns" else key: value for key, value in results["meta"].items()}
    return results | {"meta": meta}
