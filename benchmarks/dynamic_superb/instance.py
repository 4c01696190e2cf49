"""Read an instance of Dynamic-SUPERB: its instance.json, and rows of recordings, an instruction and a label.

The rows are in the folder of instance.json or on the Hugging Face Hub. Audio stays as it is stored (a file's
bytes, its path, or samples with their rate) until a row's recordings are read.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any, TypeAlias

from datasets import Audio, ClassLabel, Dataset, DatasetDict, load_dataset, load_from_disk
from torch import Tensor

from benchmarks.dynamic_superb.answer_options import options_in_instruction
from perser.audio import load_audio
from perser.errors import UserError
from perser.io.listed_paths import listed_path
from perser.io.tables import read_table

Rows: TypeAlias = Dataset | list[dict[str, Any]]

SAVED = ("dataset_info.json", "dataset_dict.json")
"""Files in a folder that `datasets` saved."""

METADATA = ("metadata.csv", "metadata.jsonl")

COLUMNS = ("audio", "file", "instruction", "label")
"""What every row needs."""


@dataclass(frozen=True)
class Item:
    """One row of an instance, without its recordings: what is asked, and the right answer."""

    file: str
    instruction: str
    label: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Instance:
    """One task on one data set.

    Args:
        name: of the instance.
        metrics: what the instance says it is measured by.
        version: the Hub's commit; empty where none is given.
        items: one for each row.
        rows: in the same order, with the recordings.
        audio: the columns with recordings.
    """

    name: str
    metrics: tuple[str, ...]
    version: str
    items: tuple[Item, ...]
    rows: Rows
    audio: tuple[str, ...]

    @property
    def has_options(self) -> bool:
        """Whether every item names its options."""
        return all(item.options for item in self.items)

    def clips(self, number: int) -> list[Tensor]:
        """Return a row's recordings in the order of their columns, each float32 (num_samples,) at 16 kHz.

        Raises BadAudio for a recording that cannot be used.
        """
        row = self.rows[number]
        return [load_audio(row[column], min_seconds=0.0) for column in self.audio]


def read_instance(folder: Path, limit: int | None = None) -> Instance:
    """Read the instance in a folder with an instance.json; with `limit`, only its first rows.

    Raises UserError where the folder is no instance, its data lacks a column, or a label is not text.
    """
    about = _read_about(folder)
    rows = read_rows(folder, str(about.get("path") or ""), str(about.get("version") or ""))
    if not len(rows):
        raise UserError(f"{folder}: the instance has no rows")
    rows = rows[:limit] if isinstance(rows, list) else rows.select(range(len(rows))[:limit])
    columns = list(rows[0]) if isinstance(rows, list) else rows.column_names
    if missing := [name for name in COLUMNS if not _numbered(name, columns)]:
        raise UserError(f"{folder}: its data has no column '{missing[0]}', only {', '.join(columns)}")
    texts = _numbered("text", columns)
    words = {name: _texts(rows, name, folder) for name in ("file", "instruction", *texts, "label")}
    items = [
        Item(file, "\n".join([instruction, *texts]), label.strip(), options_in_instruction(instruction))
        for file, instruction, *texts, label in zip(*words.values(), strict=True)
    ]
    return Instance(
        name=str(about.get("name") or folder.resolve().name),
        metrics=tuple(map(str, about.get("metrics") or [])),
        version=str(about.get("version") or ""),
        items=tuple(items),
        rows=rows,
        audio=_numbered("audio", columns),
    )


def read_rows(folder: Path, path: str, version: str | None) -> Rows:
    """Read every row of the test split, without decoding audio.

    Looks in `folder` and the folders in it for a folder that `datasets` saved, the audio folder with
    metadata.csv (or .jsonl) that instances are submitted as, and parquet files, and else on the Hub.

    Args:
        folder: the folder of instance.json.
        path: the instance's `path`: a name on the Hub, or a folder relative to `folder`.
        version: the Hub's commit.

    Raises UserError where there are no rows, or nothing that can be read.
    """
    root = folder / path if path and (folder / path).is_dir() else folder
    places = [root, *sorted(place for place in root.iterdir() if place.is_dir())]
    try:
        for place in places:
            if any((place / name).is_file() for name in SAVED):
                return _undecoded(_test_split(load_from_disk(str(place)), folder))
            for name in METADATA:
                if (place / name).is_file():
                    return _read_metadata(place / name)
        if files := sorted(root.rglob("*.parquet")):
            tests = [file for file in files if re.search(r"(^|/)test\b", file.relative_to(root).as_posix())]
            return _undecoded(Dataset.from_parquet([str(file) for file in tests or files]))
        if not path:
            raise UserError(f"{folder}: no data beside instance.json, and it names no path on the Hub")
        return _undecoded(_test_split(load_dataset(path, revision=version or None), folder))
    except UserError:
        raise
    except Exception as error:  # for a broken file, datasets and its HTTP libraries may raise anything
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{folder}: cannot read the instance's data: {reason[0]}") from error


def _read_about(folder: Path) -> dict[str, Any]:
    """Read instance.json. Raises UserError where it is missing or has another form."""
    file = folder / "instance.json"
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{folder} is no instance: cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{file} is no JSON: {error}") from error
    metrics = about.get("metrics") or [] if isinstance(about, dict) else None
    if not isinstance(metrics, list):
        raise UserError(f"{file}: give name, path and version, and metrics as a list")
    return about


def _numbered(name: str, columns: list[str]) -> tuple[str, ...]:
    """Return `audio` (or `audio1`), `audio2`, `audio3`, ... as far as there are such columns."""
    first = [column for column in (name, f"{name}1") if column in columns][:1]
    more = takewhile(columns.__contains__, (f"{name}{number}" for number in count(2)))
    return (*first, *more) if first else ()


def _texts(rows: Rows, column: str, folder: Path) -> list[str]:
    values = [row[column] for row in rows] if isinstance(rows, list) else rows[column]
    for number, value in enumerate(values):
        if not isinstance(value, str | int | float):
            raise UserError(f"{folder}: row {number}: its {column} is no text")
    return [str(value) for value in values]


def _test_split(data: Dataset | DatasetDict | Any, folder: Path) -> Dataset:
    if isinstance(data, Dataset):
        return data
    if "test" not in data and len(data) != 1:
        raise UserError(f"{folder}: the data has the splits {', '.join(data)}, none of them 'test'")
    return data["test"] if "test" in data else next(iter(data.values()))


def _undecoded(data: Dataset) -> Dataset:
    """Return the data with audio as it is stored, and class labels as their names."""
    for name, feature in data.features.items():
        if isinstance(feature, Audio):
            data = data.cast_column(name, Audio(decode=False))
        elif isinstance(feature, ClassLabel):
            names = [None if label is None else feature.int2str(label) for label in data[name]]
            data = data.remove_columns(name).add_column(name, names)
    return data


def _read_metadata(file: Path) -> list[dict[str, Any]]:
    """Read a metadata file, in which `file_name` and `audio2_file_name` are paths relative to it."""
    rows = list(read_table(file))
    for row in rows:
        for name in [name for name in row.cells if name == "file_name" or name.endswith("_file_name")]:
            recording = file.parent / listed_path(file, row.text(name))
            row.cells[name.removesuffix("file_name").rstrip("_") or "audio"] = str(recording)
            del row.cells[name]
    return [row.cells for row in rows]
