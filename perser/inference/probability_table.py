"""Tables of what any tool says about clips: a row for each clip, a column of probabilities for each emotion.

CSV or JSON, as `perser.io.tables` reads it, or Parquet. What `perser predict --csv` prints is such a table.
Nothing here imports torch: no model is loaded where the probabilities are already there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from perser.errors import UserError, first_line
from perser.io.emotion_names import WORDS, emotion_word
from perser.io.folders import did_you_mean
from perser.io.tables import InputRow, as_text, read_table
from perser.labels import EmotionSet

CLIP_COLUMNS = ("path", "file", "filename", "clip", "audio", "utterance_id", "utterance", "id", "name")
"""The columns that may name the clip; the first of them that a table has does."""

TOLERANCE = 0.02
"""How far from 1 a row may sum: tools round. It is then scaled to sum to 1."""

LEAST = 1e-6
"""What a probability of 0 is read as: a tool that rounds writes it for a small one, and no clip that a person
labels could make up for the logarithm of 0."""


@dataclass(frozen=True)
class ProbabilityTable:
    """The rows of a table.

    Args:
        file: the table.
        emotions: its columns, in our words.
        clips: the clips as the table names them.
        probabilities: float64 (num_clips, num_emotions); rows sum to 1, and none is 0.
    """

    file: Path
    emotions: EmotionSet
    clips: tuple[str, ...]
    probabilities: np.ndarray

    @classmethod
    def read(cls, file: Path, words: Collection[str] = ()) -> ProbabilityTable:
        """Read a table.

        Args:
            file: the table.
            words: further names of columns that are emotions, beside those that `emotion_word` knows.

        Raises UserError, which names the line, for a table without clips or emotions, for a clip that is
        there twice, and for numbers that are no probabilities.
        """
        rows = list(_parquet_rows(file) if file.suffix.lower() == ".parquet" else read_table(file))
        if not rows:
            raise UserError(f"{file} has no rows: give a row for each clip")
        columns = list(dict.fromkeys(column for row in rows for column in row.cells))
        clip = next((column for column in CLIP_COLUMNS if column in columns), None)
        if clip is None:
            raise UserError(f"{file} has no column that names the clip: name it path")
        emotions = _emotions_of(file, [column for column in columns if column != clip], words)
        lines: dict[str, int] = {}
        for row in rows:
            name = row.text(clip)
            if not name:
                raise row.error(f"no {clip}", "fill it in or remove the line")
            if name in lines:
                raise row.error(f"{name} has a row already, on line {lines[name]}", "keep one of the two")
            lines[name] = row.line
        unused = [column for column in columns if column != clip and column not in emotions]
        values = np.array([_probabilities(row, list(emotions), unused) for row in rows])
        return cls(file, EmotionSet(tuple(emotions.values())), tuple(lines), values)

    def row_of(self, clip: str, beside: Path) -> int | None:
        """Return the row of a clip that another file names, which stands in the folder `beside`.

        A clip is found by where it is, or else by its name as it is written, unless these are the names of
        two files. None where the table does not have it.
        """
        if (row := self._row_by_place.get(_place(beside, clip))) is not None:
            return row
        row = self._row_by_name.get(clip)
        here, there = beside / clip, self.file.parent / clip
        return None if row is not None and _exists(here) and _exists(there) else row

    def rows_of(self, names: Sequence[str]) -> np.ndarray:
        """Return the probabilities of clips by their names in the table, or without their ending.

        Raises UserError for one that the table does not have.
        """
        rows = [self._row_by_id.get(name) for name in names]
        if missing := [name for name, row in zip(names, rows, strict=True) if row is None]:
            raise UserError(
                f"{self.file} has no row for {missing[0]}{_and_more(missing)}: add one for each clip"
            )
        return self.probabilities[np.array(rows, dtype=np.int64)]

    def in_order(self, emotions: EmotionSet) -> ProbabilityTable:
        """Return the table with these emotions in this order. Raises UserError for other emotions."""
        if set(emotions.names) != set(self.emotions.names):
            raise UserError(
                f"{self.file} has the emotions {', '.join(self.emotions.names)}, and not "
                f"{', '.join(emotions.names)}: give a table of the same emotions"
            )
        columns = [self.emotions.index(name) for name in emotions.names]
        return ProbabilityTable(self.file, emotions, self.clips, self.probabilities[:, columns])

    @cached_property
    def _row_by_name(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.clips)}

    @cached_property
    def _row_by_place(self) -> dict[str, int]:
        return {_place(self.file.parent, name): row for name, row in self._row_by_name.items()}

    @cached_property
    def _row_by_id(self) -> dict[str, int]:
        """Rows by name, and by the name of the file without its ending where that is one clip's alone."""
        stems: dict[str, int | None] = {}
        for name, row in self._row_by_name.items():
            stem = Path(name.replace("\\", "/")).stem
            stems[stem] = None if stem in stems else row
        return {stem: row for stem, row in stems.items() if row is not None} | self._row_by_name


def _emotions_of(file: Path, columns: Sequence[str], words: Collection[str]) -> dict[str, str]:
    """Return the emotion of each column that has one, by column. Raises UserError for fewer than two."""
    emotions: dict[str, str] = {}
    for column in columns:
        spelled = column.replace("_", " ")
        word = spelled if spelled in words else emotion_word(column)
        if word is None:
            continue
        if word in emotions.values():
            first = next(name for name, known in emotions.items() if known == word)
            raise UserError(f"{file}: the columns {first} and {column} are both {word}: keep one of the two")
        emotions[column] = word
    if len(emotions) < 2:
        known = ", ".join(dict.fromkeys(WORDS.values()))
        raise UserError(
            f"{file} has fewer than two columns of emotions (it has {', '.join(columns) or 'none'}): name "
            f"the columns by what they are probabilities of, such as {known}"
        )
    return emotions


def _probabilities(row: InputRow, columns: Sequence[str], unused: Sequence[str]) -> np.ndarray:
    """Return a row's probabilities (num_emotions,), which sum to 1."""
    values = np.array([_number(row, column) for column in columns])
    for column, value in zip(columns, values, strict=True):
        if value < 0:
            raise row.error(f"{column} is {value:g}", "give probabilities: of logits, take the softmax")
    total = values.sum()
    if abs(total - 1) > TOLERANCE:
        advice = "give probabilities that sum to 1 over the emotions"
        if abs(total - 100) <= 100 * TOLERANCE:
            advice = "divide percentages by 100"
        left_out = f"; not read: {', '.join(unused)}" if unused else ""
        raise row.error(f"the probabilities sum to {total:.4g} ({', '.join(columns)}{left_out})", advice)
    values = np.maximum(values, np.where(values == 0, LEAST, 0))
    return values / values.sum()


def _number(row: InputRow, column: str) -> float:
    value = row.cells.get(column)
    text = "" if isinstance(value, float) and not math.isfinite(value) else row.text(column)
    if not text:
        raise row.error(f"no number in {column}", "fill it in, or remove the line")
    try:
        number = float(value) if isinstance(value, int | float) else float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise row.error(f"{column} is '{text}', no number", "give a probability from 0 to 1")
    return number


def _parquet_rows(file: Path) -> Iterator[InputRow]:
    """Yield the rows of a Parquet file; `line` counts them from 1."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(file, memory_map=False)
    except FileNotFoundError:
        raise UserError(f"cannot read {file}: no such file{did_you_mean(file)}") from None
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{file} is no Parquet file, or a damaged one ({first_line(error)})") from error
    names = ["_".join(as_text(name).lower().replace("-", " ").split()) for name in table.column_names]
    if len(set(names)) < len(names):
        raise UserError(f"{file} has a column twice ({', '.join(names)}): keep one")
    for line, cells in enumerate(table.rename_columns(names).to_pylist(), start=1):
        yield InputRow(file, line, cells)


def _place(folder: Path, name: str) -> str:
    return os.path.normpath((folder / name.replace("\\", "/")).absolute())


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _and_more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
