"""Predictions on standard output: as a table for people, as JSON, or as CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict

from perser.inference.recognizer import Classification, Prediction
from perser.labels import Emotions

UNADAPTED = "  without enrollment"


def print_json(emotions: Emotions, predictions: Sequence[Prediction]) -> None:
    """A list with one object a clip: the fields of `Prediction`."""
    print(json.dumps([asdict(one) for one in predictions], indent=1, ensure_ascii=False))


def print_csv(emotions: Emotions, predictions: Sequence[Prediction]) -> None:
    """One row a clip: path, labels (between `;`), confidence, a column for each emotion's probability; then
    the same columns, their names beginning with `unadapted_`, empty where there was no enrollment."""
    columns = ["labels", "confidence", *emotions]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", *columns, *(f"unadapted_{one}" for one in columns)])
    for one in predictions:
        without = [""] * len(columns) if one.unadapted is None else _cells(one.unadapted)
        writer.writerow([one.path, *_cells(one), *without])


def print_table(emotions: Emotions, predictions: Sequence[Prediction]) -> None:
    """A line a clip, and one below it for what the answer would be without the enrollment."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("clip", "labels", box=None, header_style="bold")
    for heading in ("sure", *emotions):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in predictions:
        table.add_row(Text(one.path, overflow="fold"), *_shown(one))
        if one.unadapted is not None:
            table.add_row(UNADAPTED, *_shown(one.unadapted), style="dim")
    console = Console()
    if not console.is_terminal:
        console = Console(
            width=max(console.width, 60 + 10 * len(emotions))
        )  # a pipe has no edge to stay within
    console.print(table)


PRINTERS: dict[str, Callable[[Emotions, Sequence[Prediction]], None]] = {
    "table": print_table,
    "json": print_json,
    "csv": print_csv,
}


def _cells(answer: Classification) -> list[str]:
    figures = (answer.confidence, *answer.probabilities.values())
    return [";".join(answer.labels), *(f"{one:.6f}" for one in figures)]


def _shown(answer: Classification) -> list[str]:
    figures = (answer.confidence, *answer.probabilities.values())
    return [", ".join(answer.labels) or "-", *(f"{one:.2f}" for one in figures)]
