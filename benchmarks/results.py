"""TODO(reorg): docstring."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring.aggregate import COSTS, costs, pool
from benchmarks.measuring.scores import Scores
from benchmarks.paper.page import write_paper_tables
from benchmarks.reporting.report import write_report
from perser.io.files import write_text_atomic


def show(out: Path) -> None:
    """Print the table of a finished run and where its report lies."""
    from benchmarks.reporting.report import print_table

    print_table(json.loads((out / "results.json").read_text(encoding="utf-8")))
    for name in ("results.json", "report.md", "report.html", "paper_tables.html", "plots", "tables"):
        if (out / name).exists():
            print(f"  {out / name}")


def write_results(scores: Sequence[Path], out: Path, title: str) -> None:
    """Write results.json, costs.json, provenance.json, a report, plots and LaTeX tables from files of
    scores: turns pooled, every K apart.

    For one seed, results.json is the same every time but for seconds; what else may differ is in the others.
    """
    loaded = [Scores.load(one) for one in scores]
    results, spent = pool(loaded, title), costs(loaded)
    write_text_atomic(out / "results.json", json.dumps(results, indent=1) + "\n")
    write_text_atomic(out / COSTS, json.dumps(spent, indent=1) + "\n")
    origin = {str(path): one.provenance for path, one in zip(scores, loaded, strict=True)}
    write_text_atomic(out / "provenance.json", json.dumps(origin, indent=1) + "\n")
    write_report(results, out, spent, origin)
    write_paper_tables(results, out)
