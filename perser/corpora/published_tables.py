"""Read the CSV and TSV tables of published corpora, row by row, with line numbers for messages."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perser.errors import UserError


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a `.csv` or `.tsv` file with their line numbers.

    A missing cell is empty, and space around cells is dropped. In a `.tsv` file a quotation mark is an
    ordinary character. Raises UserError if the file is missing, is not UTF-8, or lacks one of the `columns`.
    """
    _check_file(path)
    is_tsv = path.suffix.lower() == ".tsv"
    dialect: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if is_tsv else {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restval="", **dialect)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise UserError(
                    f"{path} has no column {', '.join(map(repr, missing))}: is it the published file?"
                )
            for row in reader:
                yield reader.line_num, {name: row[name].strip() for name in reader.fieldnames or ()}
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise _unreadable(path, error) from None


def read_header(path: Path) -> list[str]:
    """Return the column names of a `.csv` file. Raises UserError as `read_rows` does."""
    _check_file(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return next(csv.reader(stream), [])
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise _unreadable(path, error) from None


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path} is not there: give the folder that directly holds the published files")


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read ({error}): is it the published file?")


def parse_sentences(table: str) -> dict[str, str]:
    """Return the sentence of each code, from a table with a line `CODE the sentence` for each."""
    return dict(line.split(" ", 1) for line in table.strip().splitlines())
