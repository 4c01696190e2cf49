"""The methods, corpora and metrics there are (`perser bench --list`), and methods under an option."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from rich.console import Console
from rich.table import Table

from benchmarks.measuring.aggregate import ZERO
from benchmarks.reporting.columns import METRICS
from perser.errors import UserError
from perser.installed_routes import PREFIX, describe_methods, has_models, parse_method


def show_list() -> None:
    """Show the methods and corpora that are installed, and the metrics there are."""
    console = Console()
    for title, rows in (
        ("methods", describe_methods()),
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
    """Return the name of each entry point of a group and the first paragraph of its docstring."""
    entries = sorted(entry_points(group=group), key=lambda entry: entry.name)
    return [(entry.name, _first_paragraph(entry)) for entry in entries]


def _first_paragraph(entry: EntryPoint) -> str:
    """Return the first paragraph of the docstring, or why the entry point does not load: a broken package
    must not hide the others."""
    try:
        return " ".join((entry.load().__doc__ or "").strip().partition("\n\n")[0].split())
    except Exception as error:
        return f"does not load: {error}"


def standardized_methods(methods: Sequence[str], by: str) -> list[str]:
    """Return the names of methods with a standardization (`perser.adjustments.standardization`), where they
    have models and name none of their own. Entire-Zero stays as it is: gains are counted from it."""
    if by == "model":
        return list(methods)
    return [
        f"{name}+{PREFIX}{by}" if PREFIX not in name and name != ZERO and has_models(name) else name
        for name in methods
    ]


def at_endpoint(methods: Sequence[str], endpoint: str | None) -> list[str]:
    """Return the names of methods, with the endpoint where their models are for those that name a model of
    their own (`Route.names_models`).

    Raises UserError where there is none of these, or where the address cannot be part of a method's name.
    """
    if endpoint is None:
        return list(methods)
    if "+" in endpoint:
        raise UserError(
            "endpoint: it has a plus in it, which separates the options of a method: rename the file"
        )
    named = [parse_method(name) for name in methods]
    if not any(parsed.method in parsed.route.names_models for parsed in named):
        raise UserError("endpoint: none of the methods asks one: measure audio-llm:NAME-8, or leave it out")
    return [
        f"{name}+endpoint={endpoint}"
        if parsed.method in parsed.route.names_models and "+endpoint=" not in name
        else name
        for name, parsed in zip(methods, named, strict=True)
    ]
