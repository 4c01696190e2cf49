"""Published tables, row by row, with the lines that they stand on."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from perser.errors import UserError


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a `.csv` or `.tsv` file with their line numbers; a cell that is not there is empty, and
    space around one is dropped. In a `.tsv` a quotation mark is a letter like any other.

    Raises UserError for a file that is not there, cannot be read as UTF-8, or has not all of the `columns`.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there: give the folder that directly holds the published files")
    tabbed = path.suffix.lower() == ".tsv"
    dialect = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabbed else {}
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


def header(path: Path) -> list[str]:
    """The names of a `.csv` file's columns. Raises UserError as `rows` does."""
    if not path.is_file():
        raise UserError(f"{path} is not there: give the folder that directly holds the published files")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return next(csv.reader(stream), [])
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read ({error}): is it the published file?")
