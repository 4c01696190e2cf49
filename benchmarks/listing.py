"""What can be measured, on what, and by which metrics: `perser bench --list`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from rich.console import Console
from rich.table import Table

from benchmarks.reporting.columns import METRICS


def show_list() -> None:
    """Show the methods and corpora that are installed, and the metrics there are."""
    console = Console()
    for title, rows in (
        ("methods", installed("perser.routes")),
        ("corpora (`perser prepare --list` says more)", installed("perser.corpora")),
        ("metrics", [(name, column.meaning) for name, column in METRICS.items()]),
    ):
        table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column()
        for row in rows:
            table.add_row(*row)
        console.print(table, "")


def installed(group: str) -> list[tuple[str, str]]:
    """What is installed under an entry-point group: its name, and what its docstring says first."""
    return [
        (one.name, _first_line(one)) for one in sorted(entry_points(group=group), key=lambda one: one.name)
    ]


def _first_line(entry: EntryPoint) -> str:
    """Of something that does not load, why: one broken package must not hide the others."""
    try:
        return " ".join((entry.load().__doc__ or "").strip().partition("\n\n")[0].split())
    except Exception as error:
        return f"does not load: {error}"
