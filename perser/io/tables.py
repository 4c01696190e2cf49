"""Read the tables that people write, all by the same rules.

A table is CSV (separated by commas, semicolons or tabs, as its first line is) or JSON (a list of objects, or
an object on each line), in UTF-8, with or without a byte-order mark. Capitals and spaces do not matter in the
names of columns, nor space around cells, and texts are brought to the Unicode form NFC. Empty rows, empty
columns at the end, columns that nobody asked for, and lines that begin with `#` are skipped. Whatever would
lose data is refused: a row with too many cells, two columns of one name, a quotation mark that is not closed,
a mistyped column, `nan` where a word should be, labels in brackets or between other marks.
Every message names the line and says what to do.
"""

from __future__ import annotations

import csv
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from perser.errors import UserError, is_unicode, nearest
from perser.io.folders import did_you_mean
from perser.io.listed_paths import is_comment, listed_path
from perser.io.text_lines import read_lines, visible
from perser.labels import LONGEST_LABEL, Emotions, parse_emotions, split_words

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")

SUFFIXES = (".csv", ".tsv", *JSON_SUFFIXES)

EMOTIONS, PATH = "emotions", "path"
"""The columns whose cells are labels, and a file relative to the table."""

NOTHING = frozenset(("nan", "<na>", "#n/a", "n/a", "na", "nat", "null", "none"))
"""What programs write in an empty cell, in lower case. pandas does so after `astype(str)`."""

_LIKE_COLUMN = 0.85
"""A column that is no less like a name than this is taken for it, mistyped."""

_OF_A_LIST = re.compile(r"[\[\]{}<>|=\"\\\\]|^[('\u2018\u201c]|[)'\u2019\u201d]$")
"""Marks that no label has, but a list has that was written as text, or a delimiter that is none here."""

_EXCEL_DELIMITER = re.compile(r'"?sep=([,;|\t])"?\s*', re.IGNORECASE)
"""A line above the header by which Excel is told the delimiter."""


@dataclass(frozen=True, slots=True)
class InputRow:
    """A row of a table: its cells by the names of their columns, and its line for messages."""

    file: Path
    line: int
    cells: dict[str, Any]

    @property
    def place(self) -> str:
        """The file and the line."""
        return f"{self.file}, line {self.line}"

    def text(self, column: str) -> str:
        """Return a cell's text, empty where there is none. Raises UserError for a list or an object."""
        value = self.cells.get(column)
        if type(value) is str and value.isascii():  # nearly every cell, and there may be millions
            return value.strip()
        return self._text(column, value)

    def emotions(self) -> Emotions:
        """Return the words in the cell of emotions: a text, or a list of texts in JSON."""
        return parse_emotions(self._labels())

    def spelled(self) -> tuple[str, ...]:
        """Return the words in the cell of emotions as they are written, capitals and all."""
        return split_words(self._labels())

    def _labels(self) -> str:
        cell = self.cells.get(EMOTIONS)
        if not isinstance(cell, list):
            return self.text(EMOTIONS)
        return ";".join(self._text(EMOTIONS, word) for word in cell)

    def path(self) -> str:
        """Return the file that the row is about, relative to the table, in one form for each file."""
        return listed_path(self.file, self.text(PATH))

    def error(self, problem: str, remedy: str) -> UserError:
        """Return an error about this row."""
        return UserError(f"{self.place}: {problem}: {remedy}")

    def _text(self, column: str, value: object) -> str:
        try:
            return as_text(value)
        except TypeError as error:
            raise self.error(f"{column} is {error}", "give a text") from None


def as_text(value: object) -> str:
    """Return a value of a table as text.

    Nothing, and a number that is none, become an empty text. 7.0 becomes `7`, because a program that knows no
    empty whole numbers writes 7 like that. Raises TypeError for a list or an object.
    """
    if isinstance(value, str):
        text = visible(value)
        return text if text.isascii() else unicodedata.normalize("NFC", text)
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list | tuple | dict):
        raise TypeError("an object" if isinstance(value, dict) else "a list")
    return str(value).strip()


def read_table(
    file: Path, required: Sequence[str] = (), optional: Sequence[str] | None = None
) -> Iterator[InputRow]:
    """Yield the rows of a table.

    Args:
        file: The table; JSON if its name or its first character says so, else CSV.
        required: The columns that must be there, with a cell that is not empty in each row.
        optional: Further columns that are used; None for any.

    Raises UserError, which names the line, for a table that cannot be read without losing data.
    """
    try:
        with file.open("rb") as stream:
            lines = enumerate(read_lines(file, stream), start=1)
            number, head = next(((n, line) for n, line in lines if line.strip()), (0, ""))
            rest = (line for _, line in lines)
            used = () if optional is None else (*required, *optional)
            is_json = file.suffix.lower() in JSON_SUFFIXES or head.lstrip()[:1] in ("{", "[")
            if is_json and head:
                rows = _json_rows(file, number, chain([head], rest))
            else:
                rows = _csv_rows(file, number, chain([head], rest), required, used or None)
            row = None
            for row in rows:
                _check_cells(row, required)
                if is_json and (mistyped := _mistyped(tuple(row.cells), used)):
                    raise row.error(f"it has {mistyped[0]}", mistyped[1])
                yield row
            if row is None and required:
                raise UserError(f"{file} has no rows: list at least one recording")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot read {file}: {reason}{did_you_mean(file)}") from error


def _check_cells(row: InputRow, required: Sequence[str]) -> None:
    empty = [name for name in required if not (row.emotions() if name == EMOTIONS else row.text(name))]
    if empty:
        remedy = "fill it in or remove the line"
        if empty[0] not in row.cells:  # a line of JSON
            other = _other_name(empty[0], row.cells, required)
            remedy = (
                f"rename {other} to {empty[0]}"
                if other
                else f"{remedy} (it has {', '.join(row.cells) or 'nothing'})"
            )
        raise row.error(f"no {', '.join(empty)}", remedy)

    for name in required:
        if name != PATH:
            _check_cell(row, name)


def _check_cell(row: InputRow, column: str) -> None:
    """Raise UserError for a cell that says nothing, or holds labels in a form that would be taken wrongly."""
    words = row.emotions() if column == EMOTIONS else (row.text(column).lower(),)
    for word in words:
        if word in NOTHING:
            raise row.error(f"{column} is '{word}', an empty cell", "fill it in or remove the line")
    if column == EMOTIONS and (wrong := _wrong_label(words)):
        raise row.error(
            f"{column} has '{wrong}', which is no label", "separate labels by ; alone, without quotes"
        )


@lru_cache(maxsize=4096)
def _wrong_label(labels: Emotions) -> str | None:
    """Return the first label that cannot be one, cut where it is long."""
    wrong = (word for word in labels if len(word) > LONGEST_LABEL or _OF_A_LIST.search(word))
    first = next(wrong, None)
    return first if first is None or len(first) <= LONGEST_LABEL else f"{first[:LONGEST_LABEL]}..."


def _other_name(column: str, names: Iterable[str], required: Sequence[str]) -> str | None:
    """Return the name that a column seems to have instead of its own, among those of no required column."""
    return nearest(column, [name for name in names if name and name not in required])


def _csv_rows(
    file: Path, number: int, lines: Iterator[str], required: Sequence[str], used: Sequence[str] | None
) -> Iterator[InputRow]:
    """Yield the rows of a CSV file; `number` is the number of the first of its lines."""
    number, head, delimiter = _header_line(number, lines, required)
    # Strict, because otherwise a quotation mark that is never closed would swallow all rows after it.
    reader = csv.reader(chain([head], lines), delimiter=delimiter, skipinitialspace=True, strict=True)
    first = number
    try:
        header = [_column(name) for name in next(reader, [])]
        while header and not header[-1]:
            header.pop()
        _check_header(file, number, header, required, used)
        while True:
            number = first + reader.line_num
            cells = next(reader, None)
            if cells is None:
                return
            if not any(map(as_text, cells)) or _is_comment_row(file, header, cells):
                continue
            row = InputRow(file, number, dict(zip(header, chain(cells, repeat(None)), strict=False)))
            _check_width(row, header, cells, delimiter, required)
            row.cells.pop("", None)
            yield row
    except csv.Error as error:
        advice = 'end each cell in quotes with its quotation mark, and write one inside a cell as ""'
        raise UserError(f"{file}, line {number}: {error}: {advice}") from None


def _header_line(number: int, lines: Iterator[str], required: Sequence[str]) -> tuple[int, str, str]:
    """Return the line that names the columns, its number and the delimiter. Empty lines, comments and Excel's
    `sep=;` may be above it."""
    delimiter = ""
    for line_number, line in enumerate(lines, start=number):
        if told := _EXCEL_DELIMITER.fullmatch(line):
            delimiter = told[1]
        elif line.strip() and not line.startswith("#"):
            return line_number, line, delimiter or _delimiter(line, required)
    return number, "", ","


def _delimiter(head: str, required: Sequence[str]) -> str:
    """Return the delimiter with which a header has most of the required columns, and most columns at all."""

    def columns(delimiter: str) -> tuple[int, int]:
        names = head.replace('"', "").split(delimiter)
        return len(set(required) & set(map(_column, names))), len(names)

    return max(DELIMITERS, key=columns)


def _column(name: str) -> str:
    """Return a column's name in one form: `Utterance ID` is `utterance_id`."""
    return re.sub(r"[\s_-]+", "_", as_text(name).lower())


def _check_header(
    file: Path, number: int, header: list[str], required: Sequence[str], used: Sequence[str] | None
) -> None:
    missing = [column for column in required if column not in header]
    if missing and header:
        other = _other_name(missing[0], header, required)
        there = f"rename {other}" if other else f"the line has {', '.join(filter(None, header))}"
        raise UserError(
            f"{file} has no column {', '.join(missing)} (line {number}): name the columns there ({there})"
        )
    if mistyped := _mistyped(tuple(header), tuple(used or ())):
        raise UserError(f"{file} has a column {mistyped[0]} (line {number}): {mistyped[1]}")
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    for name in twice:
        if used is None or name in used:
            raise UserError(f"{file} has the column {name} twice (line {number}): keep one")


@lru_cache(maxsize=64)
def _mistyped(names: tuple[str, ...], used: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the name of a column that is nearly one of those that are used, and what to do; else None."""
    others = [name for name in names if name not in used]
    for column in used:
        if column not in names and (close := get_close_matches(column, others, 1, _LIKE_COLUMN)):
            return close[0], f"rename it to {column}, or to something else if it is not that"
    return None


def _check_width(
    row: InputRow, header: list[str], cells: list[str], delimiter: str, required: Sequence[str]
) -> None:
    """Raise UserError for a cell in no column, or a row that another delimiter separates."""
    separator = DELIMITERS.get(delimiter, repr(delimiter))
    if len(cells) > len(header) and any(map(as_text, cells[len(header) :])):
        other = ", or separate emotions by " + ("commas" if delimiter == ";" else ";")
        raise row.error(
            f"more cells than the {len(header)} columns",
            f"put a cell with {separator} in quotes{other if EMOTIONS in header else ''}",
        )
    for index in [index for index, name in enumerate(header) if not name] if "" in header else ():
        cell = as_text(cells[index]) if index < len(cells) else ""
        # pandas writes the numbers of the rows in a first column without a name.
        if cell and not (index == 0 and cell.isdigit()):
            raise row.error(f"'{cell}' is in a column without a name", "name it on the first line")
    if len(cells) == 1 and len(required) > 1:
        raise row.error(f"only one cell, '{as_text(cells[0])}'", f"separate the cells by {separator}")


def _is_comment_row(file: Path, header: list[str], cells: list[str]) -> bool:
    """Return whether a row is a comment: of one cell, or where a path should be."""
    first = cells[0].strip()
    if not first.startswith("#"):
        return False
    alone = not any(map(as_text, cells[1:]))
    return (alone or header[:1] == [PATH]) and is_comment(file, as_text(first))


def _json_rows(file: Path, number: int, lines: Iterator[str]) -> Iterator[InputRow]:
    """Yield the objects of a JSON list, or of lines with one object each."""
    first = next(lines)
    if first.lstrip().startswith("["):
        yield from _listed_objects(file, number, first + "".join(lines))
        return
    for line_number, line in enumerate(chain([first], lines), start=number):
        if text := line.strip():
            row, end = _object(file, line_number, text, 0)
            if end < len(text):
                raise row.error("not JSON (more than one value)", "give one object a line")
            yield row


def _listed_objects(file: Path, line: int, text: str) -> Iterator[InputRow]:
    """Yield the objects of a list in JSON, whose text begins on a line of the file."""
    place = text.index("[") + 1
    while True:
        gap = _BETWEEN_OBJECTS.match(text, place)
        assert gap is not None  # the expression matches nothing at all, too
        line, place = line + gap.group().count("\n"), gap.end()
        if text[place:].strip() == "]":
            return
        row, end = _object(file, line, text, place)
        yield row
        line, place = line + text.count("\n", place, end), end


def _object(file: Path, line: int, text: str, start: int) -> tuple[InputRow, int]:
    """Return the JSON object at a place of a text, and where it ends."""
    try:
        content, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits, lists 10,000 deep
        reason = getattr(error, "msg", error)
        advice = "mend the line"
        if start == 0 and getattr(error, "pos", 0) >= len(text):  # the object goes on in the next line
            advice = "write each object on one line of its own, or all of them as a list in [ ]"
        raise UserError(f"{file}, line {line}: not JSON ({reason}): {advice}") from None
    row = InputRow(file, line, content if isinstance(content, dict) else {})
    if not isinstance(content, dict):
        raise row.error("not a JSON object", "give one object for each recording")
    if "\\ud" in text[start:end].lower() and not is_unicode(json.dumps(content, ensure_ascii=False)):
        raise row.error("half of a character (\\ud800 ...)", "mend the line")
    return row, end


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON with the names of its columns in one form. Raises ValueError for a name that
    is there twice: otherwise one of the two cells would be lost."""
    cells = {_column(name): value for name, value in pairs}
    if len(cells) < len(pairs):
        names = Counter(_column(name) for name, _ in pairs)
        raise ValueError(f"it has {names.most_common(1)[0][0]} twice")
    return cells


_BETWEEN_OBJECTS = re.compile(r"[\s,]*")

_DECODER = json.JSONDecoder(object_pairs_hook=_named_once, parse_constant=lambda name: None)
