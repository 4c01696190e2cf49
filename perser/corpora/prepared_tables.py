"""The two tables of a prepared corpus, `utterances/` and `annotations/`, written and read column by column:
no row of millions becomes a dictionary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features, List, Value

from perser.corpora.annotations import Annotations
from perser.corpora.listing import Annotation, Utterance

TEXT = Value("string")

FIELDS = tuple(one.name for one in fields(Utterance))

UTTERANCE_COLUMNS = Features(
    dict.fromkeys(("utterance_id", "audio", "speaker", "session"), TEXT)
    | {"duration": Value("float64"), "text": TEXT}
)

ANNOTATION_COLUMNS = Features({"utterance_id": TEXT, "listener": TEXT, "emotions": List(TEXT)})

_BETWEEN = "\x1f"
"""Between the words of a label set while it is one text; no word has it, since it counts as space."""


def write_tables(
    folder: Path, utterances: Iterable[tuple[Utterance, float]], annotations: Sequence[Annotation]
) -> None:
    """Write both tables; with each utterance its duration in seconds."""
    rows = list(utterances)
    columns = {name: [getattr(row, name) for row, _ in rows] for name in FIELDS}
    columns["duration"] = [seconds for _, seconds in rows]
    words = {labels: list(labels) for labels in {one.emotions for one in annotations}}
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # two more bars for a fraction of a second tell the user nothing
    try:
        _table(columns, UTTERANCE_COLUMNS).save_to_disk(folder / "utterances")
        columns = {
            "utterance_id": [one.utterance_id for one in annotations],
            "listener": [one.listener for one in annotations],
            "emotions": [words[one.emotions] for one in annotations],
        }
        _table(columns, ANNOTATION_COLUMNS).save_to_disk(folder / "annotations")
    finally:
        if shown:
            datasets.enable_progress_bars()


def _table(columns: dict[str, list], kinds: Features) -> Dataset:
    schema = kinds.arrow_schema
    return Dataset(pa.table([pa.array(columns[one.name], one.type) for one in schema], schema=schema))


def read_utterances(folder: Path) -> tuple[list[Utterance], list[float]]:
    """The utterances, and the duration of each. Raises ValueError for a table that is not whole."""
    table = _read(folder / "utterances", UTTERANCE_COLUMNS)
    columns = [
        _shared(table[name]) if name in ("speaker", "session") else table[name].to_pylist() for name in FIELDS
    ]
    return list(map(Utterance, *columns)), table["duration"].to_pylist()


def read_annotations(folder: Path, utterances: Iterable[str]) -> Annotations:
    """The annotations of these utterances. Raises ValueError for a table that is not whole, or has others."""
    names = sorted(utterances)
    table = _read(folder / "annotations", ANNOTATION_COLUMNS)
    utterance = pc.index_in(table["utterance_id"], value_set=pa.array(names, pa.string()))
    listener = table["listener"].combine_chunks().dictionary_encode()
    labels = pc.binary_join(table["emotions"], _BETWEEN).combine_chunks().dictionary_encode()
    if utterance.null_count or labels.null_count:
        raise ValueError("an annotation of no utterance, or without emotions")
    places = [np.asarray(one, dtype=np.int32) for one in (utterance, listener.indices, labels.indices)]
    sets = [tuple(one.split(_BETWEEN)) for one in labels.dictionary.to_pylist()]
    return Annotations(names, listener.dictionary.to_pylist(), sets, np.stack(places))


def _read(folder: Path, kinds: Features) -> pa.Table:
    table = Dataset.load_from_disk(folder).data.table
    table.validate(full=True)  # without, a damaged place of a text lets Arrow read beyond its memory
    if {one.name: one.type for one in table.schema} != {one.name: one.type for one in kinds.arrow_schema}:
        raise ValueError(f"{folder.name}/ has other columns")
    if any(column.null_count for column in table.columns):
        raise ValueError(f"{folder.name}/ has empty cells")
    return table


def _shared(column: pa.ChunkedArray) -> list[str]:
    """A column of few different words, each of them in memory once."""
    encoded = column.combine_chunks().dictionary_encode()
    words = encoded.dictionary.to_pylist()
    return [words[place] for place in encoded.indices.to_numpy().tolist()]
