"""The rows of an instance: from the folder of its instance.json, or from the Hugging Face Hub.

Audio stays as it is stored (a file's bytes, its path, or samples with their rate) until it is asked.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Audio, ClassLabel, Dataset, DatasetDict, load_dataset, load_from_disk

from perser.errors import UserError

Rows = Dataset | list[dict[str, Any]]

SAVED = ("dataset_info.json", "dataset_dict.json")

METADATA = ("metadata.csv", "metadata.jsonl")


def read_rows(folder: Path, path: str, version: str | None) -> Rows:
    """Every row of the test split, audio not decoded.

    Looked for in `folder` and the folders in it: a folder that `datasets` saved, the audio folder with
    metadata.csv (or .jsonl) that instances are submitted as, parquet files; else on the Hub.

    Args:
        folder: Of the instance.json.
        path: The instance's `path`: a name on the Hub, or a folder relative to `folder`.
        version: The Hub's commit.

    Raises UserError where there are no rows, or nothing that can be read.
    """
    beside = folder / path if path and (folder / path).is_dir() else folder
    places = [beside, *sorted(one for one in beside.iterdir() if one.is_dir())]
    try:
        for place in places:
            if any((place / name).is_file() for name in SAVED):
                return _undecoded(_test_split(load_from_disk(str(place)), folder))
            for name in METADATA:
                if (place / name).is_file():
                    return _metadata(place / name)
        if files := sorted(beside.rglob("*.parquet")):
            tests = [one for one in files if re.search(r"(^|/)test\b", one.relative_to(beside).as_posix())]
            return _undecoded(Dataset.from_parquet([str(one) for one in tests or files]))
        if not path:
            raise UserError(f"{folder}: no data beside instance.json, and it names no path on the Hub")
        return _undecoded(_test_split(load_dataset(path, revision=version or None), folder))
    except UserError:
        raise
    except Exception as error:  # a broken file makes datasets raise anything, and so do its HTTP libraries
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{folder}: cannot read the instance's data: {reason[0]}") from error


def _test_split(data: Dataset | DatasetDict | Any, folder: Path) -> Dataset:
    if isinstance(data, Dataset):
        return data
    if "test" not in data and len(data) != 1:
        raise UserError(f"{folder}: the data has the splits {', '.join(data)}, none of them 'test'")
    return data["test"] if "test" in data else next(iter(data.values()))


def _undecoded(data: Dataset) -> Dataset:
    """With audio as it is stored, and class labels as their names."""
    for name, feature in data.features.items():
        if isinstance(feature, Audio):
            data = data.cast_column(name, Audio(decode=False))
        elif isinstance(feature, ClassLabel):
            names = [None if one is None else feature.int2str(one) for one in data[name]]
            data = data.remove_columns(name).add_column(name, names)
    return data


def _metadata(file: Path) -> list[dict[str, Any]]:
    """Rows of a metadata file, in which `file_name` and `audio2_file_name` are paths relative to it."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        given: Sequence[Mapping[str, Any]]
        given = list(csv.DictReader(stream)) if file.suffix == ".csv" else [json.loads(one) for one in stream]
    rows = []
    for one in given:
        row = dict(one)
        for name in [name for name in row if name == "file_name" or name.endswith("_file_name")]:
            row[name.removesuffix("file_name").rstrip("_") or "audio"] = str(file.parent / row.pop(name))
        rows.append(row)
    return rows
