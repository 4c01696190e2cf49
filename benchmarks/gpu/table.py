"""python -m benchmarks.gpu.table --results runs/gpu/gpu.json [--out benchmarks/results/gpu.md]

Print the findings of a run as one table, and write the page that is made of its gpu.json.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.gpu.findings import Finding
from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import check_outputs, write_text_atomic

STYLES = {"passed": "green", "failed": "bold red", "skipped": "yellow"}

WIDTH = 130


def print_finding(finding: Finding) -> None:
    """Print one finding while the run goes on."""
    line = f"{finding.part}: {finding.check}: {finding.status} ({finding.seconds:.1f} s)"
    print(f"{line} {finding.text}", flush=True)


def print_results(results: Path) -> None:
    """Print the table of a gpu.json, and how many checks passed, failed and were skipped."""
    content = read_results(results)
    table = Table("part", "check", "result", "s", "seen", show_lines=False)
    for part, checks in findings_by_part(content).items():
        for finding in checks:
            style = STYLES[finding.status]
            seconds = f"{finding.seconds:.1f}"
            status = f"[{style}]{finding.status}[/{style}]"
            table.add_row(part, escape(finding.check), status, seconds, escape(finding.text))
        table.add_section()
    console = Console(width=WIDTH, highlight=False)
    console.print(table)
    console.print(summary(content))


def write_page(results: Path, out: Path) -> None:
    """Write the Markdown page of a gpu.json."""
    content = read_results(results)
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["cell"] = lambda text: " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    page = templates.get_template("gpu.md.jinja").render(
        quick=content["quick"], summary=summary(content), parts=findings_by_part(content)
    )
    write_text_atomic(out, page.rstrip() + "\n")


def gpu_page(results: Path, out: Path = Path("benchmarks/results/gpu.md")) -> None:
    """Write the page of a run of `python -m benchmarks.gpu`.

    Args:
        results: the run's gpu.json.
        out: the Markdown file.
    """
    check_outputs(files={"out": out})
    if not results.is_file():
        raise UserError(f"results: no file {results}: run `python -m benchmarks.gpu`, which writes it")
    write_page(results, out)


def read_results(results: Path) -> dict[str, Any]:
    """Return the content of a gpu.json."""
    return json.loads(results.read_text(encoding="utf-8"))


def findings_by_part(content: dict[str, Any]) -> dict[str, list[Finding]]:
    """Return the findings of each part, in the order in which they were made."""
    parts: dict[str, list[Finding]] = {}
    for values in content["findings"]:
        parts.setdefault(values["part"], []).append(Finding(**values))
    return parts


def summary(content: dict[str, Any]) -> str:
    """Say in a sentence what came out, and in how many seconds."""
    counts = Counter(values["status"] for values in content["findings"])
    result = ", ".join(f"{counts[status]} {status}" for status in STYLES)
    where = "on a GPU" if content["device"] == "cuda" else "without a GPU"
    return f"{result}, {where}, in {sum(content['seconds'].values()):.0f} s"


if __name__ == "__main__":
    run_command(gpu_page)
