"""perser prepare huggingface --dataset.name amu-cai/nEMO --dataset.speaker speaker_id --out corpora/nemo

Any dataset of the Hugging Face Hub, or a local folder of that kind: you name the columns. Recordings that are
in the dataset's tables are written to files in the prepared corpus, byte for byte; those that are files stay
where they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perser.corpora.huggingface_options import HuggingFaceDataset
from perser.corpora.listing import (
    AUDIO_SUFFIXES,
    INTENDED,
    UNKNOWN_SPEAKER,
    About,
    Annotation,
    LeftOut,
    Listing,
    Utterance,
    described,
)
from perser.errors import UserError, explain_damage
from perser.labels import Emotions, parse_emotions

if TYPE_CHECKING:
    from datasets import Dataset

SAVED = ("state.json", "dataset_dict.json")
"""What `save_to_disk` leaves in a folder."""

COLUMNS = ("audio", "emotions", "listener", "speaker", "session", "text", "id")
"""The options that name one."""

MOST_TOLD = 300
"""Characters of what the library says when it cannot load a dataset."""

HUB = "https://huggingface.co/datasets"

ABOUT = About(
    what="a dataset of the Hugging Face Hub, or a local folder of that kind, whose columns you name",
    source=HUB,
    license="see the dataset's card",
    axes=("listener", "speaker"),
    how_to_get="give --dataset.name, --dataset.audio, --dataset.emotions, and --dataset.listener and "
    "--dataset.speaker where there are such columns; it is downloaded",
)


@described(ABOUT)
def huggingface(
    audio_out: Path, dataset: HuggingFaceDataset = HuggingFaceDataset(), emotions: str | None = None
) -> Listing:
    """Read a Hugging Face dataset. A recording with several listeners has several rows.

    Args:
        audio_out: folder to write recordings to that are in the dataset's tables.
        dataset: which one, and its columns.
        emotions: the emotion set in class order, `;` between; labels outside it are counted as dropped.
            Without it, the class labels' own order, or the words found, sorted.
    """
    table = _load(dataset)
    about = replace(ABOUT, source=_source(dataset), license=table.info.license or ABOUT.license)
    listing = about.listing(Path(dataset.name).name, (), audio_out)
    words, known = _reader_of_words(table, dataset.emotions)
    recordings = _Recordings(audio_out, dataset, listing)
    heard: list[tuple[str, str, Emotions]] = []
    with explain_damage(f"--dataset.name {dataset.name}", "get it again"):  # rows are read when they are met
        for number, row in enumerate(table):
            try:
                utterance = recordings.add(number, row)
                labels = words(row[dataset.emotions])
                listener = _cell(row, dataset.listener, default="") if dataset.listener else INTENDED
                if not (labels and listener):
                    raise _BadRow("no emotion" if listener else "no listener")
                heard.append((utterance, listener, labels))
            except _BadRow as error:
                listing.left_out.append(LeftOut(f"row {number}", str(error)))
    found = known or tuple(sorted({word for *_, labels in heard for word in labels}))
    listing.emotions = _chosen(emotions, found)
    for utterance, listener, labels in heard:
        _add_response(utterance, listener, labels, listing)
    if dataset.speaker is None:
        listing.notes.append("no column of speakers was named: the person can only be the listener")
    return listing


class _BadRow(Exception):
    """Why a row cannot be used."""


class _Recordings:
    """Utterances by their rows, each recording written once."""

    def __init__(self, audio_out: Path, dataset: HuggingFaceDataset, listing: Listing) -> None:
        self._audio_out = audio_out
        self._dataset = dataset
        self._listing = listing
        self._first: dict[str, tuple[int, Utterance, str]] = {}

    def add(self, number: int, row: dict[str, Any]) -> str:
        """The utterance's id. Raises UserError where an earlier row says something else of the same id."""
        content, path = self._content(row[self._dataset.audio])
        name = _cell(row, self._dataset.id, default=self._within(path) or f"{number:06d}")
        digest = hashlib.sha256(content).hexdigest() if content else path
        before, utterance, its_digest = self._first.get(name, (number, None, digest))
        audio = utterance.audio if utterance else self._audio(number, content, path)
        described_now = Utterance(
            name,
            audio,
            _cell(row, self._dataset.speaker, UNKNOWN_SPEAKER),
            _cell(row, self._dataset.session, "1"),
            _cell(row, self._dataset.text, ""),
        )
        if utterance is None:
            self._first[name] = number, described_now, digest
            self._listing.utterances.append(described_now)
        elif (utterance, its_digest) != (described_now, digest):
            raise UserError(
                f"{self._dataset.name}, rows {before} and {number}: {name} differs in audio, speaker, "
                "session or text: name a column that tells recordings apart as --dataset.id"
            )
        return name

    def _content(self, cell: Any) -> tuple[bytes, str]:
        """The recording's bytes, if the table holds them, and its path, if it has one."""
        if isinstance(cell, str) and cell:
            return b"", cell
        if isinstance(cell, dict) and (cell.get("bytes") or cell.get("path")):
            return cell.get("bytes") or b"", cell.get("path") or ""
        raise _BadRow("no recording")

    def _within(self, path: str) -> str:
        """The same wherever the dataset's folder lies."""
        folder = Path(self._dataset.name).absolute()
        return Path(path).relative_to(folder).as_posix() if Path(path).is_relative_to(folder) else path

    def _audio(self, number: int, content: bytes, path: str) -> str:
        if not content:
            return (Path(self._dataset.name).absolute() / path).as_posix()
        suffix = Path(path).suffix.lower()
        audio = f"{number:06d}{suffix if suffix in AUDIO_SUFFIXES else '.wav'}"  # read by what is in it
        self._audio_out.mkdir(parents=True, exist_ok=True)
        (self._audio_out / audio).write_bytes(content)
        return audio


def _load(dataset: HuggingFaceDataset) -> Dataset:
    """The split's table, its audio as it is stored. Raises UserError for what cannot be found."""
    import datasets  # here: `perser prepare --list` need not wait for it

    if not dataset.name:
        raise UserError("huggingface needs --dataset.name: a name on the Hub, or a local folder")
    folder = Path(dataset.name)
    try:
        if any((folder / name).is_file() for name in SAVED):
            loaded = datasets.load_from_disk(dataset.name)
            table = loaded[dataset.split] if isinstance(loaded, datasets.DatasetDict) else loaded
        else:
            table = datasets.load_dataset(dataset.name, dataset.config, split=dataset.split)
    except Exception as error:  # a damaged folder makes the library raise anything at all
        reason = " ".join(str(error.__cause__ or error).split())[:MOST_TOLD]
        raise UserError(f"--dataset.name {dataset.name}, split {dataset.split}: {reason}") from error
    columns = {name: column for name in COLUMNS if (column := getattr(dataset, name)) is not None}
    for name, column in columns.items():
        if column not in table.column_names:
            raise UserError(
                f"{dataset.name} has no column {column!r}: give --dataset.{name} as one of "
                f"{', '.join(table.column_names)}"
            )
    table = table.select_columns(sorted(set(columns.values())))  # no other recording or picture is decoded
    with explain_damage(f"--dataset.name {dataset.name}", "get it again"):
        table.data.table.validate(full=True)  # without, damage lets Arrow read beyond its memory
    if isinstance(table.features[dataset.audio], datasets.Audio):
        table = table.cast_column(dataset.audio, datasets.Audio(decode=False))
    return table


def _source(dataset: HuggingFaceDataset) -> str:
    folder = Path(dataset.name)
    return folder.name if folder.exists() else f"{HUB}/{dataset.name}"


def _reader_of_words(table: Dataset, column: str) -> tuple[Callable[[Any], Emotions], Emotions]:
    """What makes words of a label's cell, and the words that are known beforehand: the class labels'."""
    from datasets import ClassLabel, List

    feature = table.features[column]
    inner = feature.feature if isinstance(feature, List) else feature
    names = (
        tuple(" ".join(parse_emotions(name)) for name in inner.names) if isinstance(inner, ClassLabel) else ()
    )
    if not names and getattr(inner, "dtype", None) != "string":
        raise UserError(f"the column {column!r} holds {feature}, neither words nor class labels")

    def words(cell: Any) -> Emotions:
        cells = cell if isinstance(cell, list) else [cell]
        return tuple(dict.fromkeys(word for one in cells if one is not None for word in read(one)))

    def read(one: Any) -> Emotions:
        if not names:
            return parse_emotions(one)
        return (names[one],) if one >= 0 else ()  # -1: no label

    return words, names


def _chosen(emotions: str | None, found: Emotions) -> Emotions:
    chosen = parse_emotions(emotions) if emotions else found
    strange = [word for word in chosen if word not in found]
    if strange:
        raise UserError(f"--emotions: nothing is labeled '{strange[0]}', only {', '.join(found)}")
    return chosen


def _add_response(utterance: str, listener: str, labels: Emotions, listing: Listing) -> None:
    kept = tuple(word for word in labels if word in listing.emotions)
    for word in labels:
        if word not in kept:
            listing.drop(f"labels of {word}")
    if kept:
        listing.annotations.append(Annotation(utterance, listener, kept))


def _cell(row: dict[str, Any], column: str | None, default: str) -> str:
    value = row[column] if column else None
    return str(value).strip() if value is not None and str(value).strip() else default
