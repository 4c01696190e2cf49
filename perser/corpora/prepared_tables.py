"""Write and read the two tables of a prepared corpus, `utterances/` and `annotations/`.

They are handled column by column, so that millions of rows never become dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features, List, Value

from perser.corpora.annotations import Annotations
from perser.corpora.listing import Annotation, Utterance

TEXT = Value("string")

FIELDS = tuple(field.name for field in fields(Utterance))

UTTERANCE_COLUMNS = Features(
    dict.fromkeys(("utterance_id", "audio", "speaker", "session"), TEXT)
    | {"duration": Value("float64"), "text": TEXT}
)

ANNOTATION_COLUMNS = Features({"utterance_id": TEXT, "listener": TEXT, "emotions": List(TEXT)})

_SEPARATOR = "\x1f"
"""Separates the words of a label set in one text. It counts as space, so no word contains it."""


def write_tables(
    folder: Path, utterances: Iterable[tuple[Utterance, float]], annotations: Sequence[Annotation]
) -> None:
    """Write both tables. Each utterance comes with its duration in seconds."""
    rows = list(utterances)
    columns = {name: [getattr(row, name) for row, _ in rows] for name in FIELDS}
    columns["duration"] = [seconds for _, seconds in rows]
    words = {labels: list(labels) for labels in {annotation.emotions for annotation in annotations}}
    had_bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # writing takes a fraction of a second
    try:
        _table(columns, UTTERANCE_COLUMNS).save_to_disk(folder / "utterances")
        columns = {
            "utterance_id": [annotation.utterance_id for annotation in annotations],
            "listener": [annotation.listener for annotation in annotations],
            "emotions": [words[annotation.emotions] for annotation in annotations],
        }
        _table(columns, ANNOTATION_COLUMNS).save_to_disk(folder / "annotations")
    finally:
        if had_bars:
            datasets.enable_progress_bars()


def _table(columns: dict[str, list[Any]], features: Features) -> Dataset:
    schema = features.arrow_schema
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return Dataset(pa.table(arrays, schema=schema))


def read_utterances(folder: Path) -> tuple[list[Utterance], list[float]]:
    """Return the utterances and their durations in seconds. Raises ValueError for a damaged table."""
    table = _read(folder / "utterances", UTTERANCE_COLUMNS)
    columns = [
        _deduplicated(table[name]) if name in ("speaker", "session") else table[name].to_pylist()
        for name in FIELDS
    ]
    return list(map(Utterance, *columns)), table["duration"].to_pylist()


def read_annotations(folder: Path, utterances: Iterable[str]) -> Annotations:
    """Return the annotations. Raises ValueError for a damaged table, or one that names other utterances."""
    names = sorted(utterances)
    table = _read(folder / "annotations", ANNOTATION_COLUMNS)
    utterance = pc.index_in(table["utterance_id"], value_set=pa.array(names, pa.string()))
    listener = table["listener"].combine_chunks().dictionary_encode()
    labels = pc.binary_join(table["emotions"], _SEPARATOR).combine_chunks().dictionary_encode()
    if utterance.null_count or labels.null_count:
        raise ValueError("an annotation of no utterance, or without emotions")
    columns = (utterance, listener.indices, labels.indices)
    indices = np.stack([np.asarray(column, dtype=np.int32) for column in columns])
    label_sets = [tuple(text.split(_SEPARATOR)) for text in labels.dictionary.to_pylist()]
    return Annotations(names, listener.dictionary.to_pylist(), label_sets, indices)


def _read(folder: Path, features: Features) -> pa.Table:
    # Resolved, because datasets puts the working folder before it, and Arrow takes only names in UTF-8.
    table = Dataset.load_from_disk(folder.resolve()).data.table
    table.validate(full=True)  # otherwise a damaged offset lets Arrow read beyond its memory
    expected = {field.name: field.type for field in features.arrow_schema}
    if {field.name: field.type for field in table.schema} != expected:
        raise ValueError(f"{folder.name}/ has other columns")
    if any(column.null_count for column in table.columns):
        raise ValueError(f"{folder.name}/ has empty cells")
    return table


def _deduplicated(column: pa.ChunkedArray) -> list[str]:
    """Return a column's texts, with equal texts as one object in memory."""
    encoded = column.combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    return [texts[index] for index in encoded.indices.to_numpy().tolist()]
