"""perser prepare huggingface --dataset.name amu-cai/nEMO --dataset.speaker speaker_id --out corpora/nemo

Any dataset of the Hugging Face Hub, or a local folder of the same kind. The user names its columns.
Recordings in the dataset's tables are written to files in the prepared corpus, byte for byte; samples with
their rate become WAV files at 16 kHz. Recordings that are files stay where they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from perser.audio import AUDIO_SUFFIXES, SAMPLE_RATE, BadAudio, load_audio
from perser.corpora.huggingface_options import HuggingFaceDataset
from perser.corpora.listing import (
    INTENDED,
    UNKNOWN_SPEAKER,
    About,
    Annotation,
    CorpusReader,
    Listing,
    Utterance,
)
from perser.errors import UserError, explain_damage
from perser.io.files import check_name
from perser.io.tables import as_text
from perser.labels import Emotions, parse_emotions

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

SAVED = ("state.json", "dataset_dict.json")
"""Files by which a folder of `save_to_disk` is recognized."""

COLUMNS = ("audio", "emotions", "listener", "speaker", "session", "text", "id")
"""The options of `HuggingFaceDataset` that name a column."""

TEXTS = ("string", "large_string", "string_view")
"""The types of texts: pandas writes any of them."""

LONGEST_REASON = 300
"""Characters that are quoted of the library's message when it cannot load a dataset."""

HUB = "https://huggingface.co/datasets"

ABOUT = About(
    what="a dataset of the Hugging Face Hub, or a local folder of that kind, whose columns you name",
    source=HUB,
    license="see the dataset's card",
    axes=("listener", "speaker"),
    how_to_get="give --dataset.name, --dataset.audio, --dataset.emotions, and --dataset.listener and "
    "--dataset.speaker where there are such columns; it is downloaded",
)


def read_huggingface(
    audio_out: Path, dataset: HuggingFaceDataset = HuggingFaceDataset(), emotions: str | None = None
) -> Listing:
    """Read a Hugging Face dataset. A recording with several listeners has several rows.

    Args:
        audio_out: Folder to write those recordings to that are in the dataset's tables.
        dataset: Which dataset, and its columns.
        emotions: The emotion set in class order, separated by `;`. Other labels are counted as dropped.
            Without it, the class labels in their own order, or the words in the dataset, sorted.
    """
    table = _load(dataset)
    about = replace(ABOUT, source=_source(dataset), license=table.info.license or ABOUT.license)
    listing = about.new_listing(Path(dataset.name).name, (), audio_out)
    listing.namespace = ""  # it may be any corpus, or a part of one
    words_in, class_names = _label_parser(table, dataset.emotions)
    recordings = _Recordings(audio_out, dataset, listing, _sample_type(table.features[dataset.audio]))
    responses: list[tuple[str, str, Emotions]] = []
    with explain_damage(f"--dataset.name {dataset.name}", "get it again"):  # rows are read one by one
        for number, row in enumerate(table):
            try:
                labels = words_in(row[dataset.emotions])
                listener = _cell(row, dataset.listener, default="") if dataset.listener else INTENDED
                if not (labels and listener):
                    raise _BadRow("no emotion" if listener else "no listener")
                responses.append((recordings.add(number, row), listener, labels))
            except _BadRow as error:
                listing.leave_out(f"row {number}", str(error))
    if not responses:
        example = f", for example {listing.left_out[0].what}: {listing.left_out[0].reason}"
        raise UserError(
            f"nothing of {dataset.name} can be used{example if listing.left_out else ', as it has no rows'}"
        )
    words = class_names or tuple(sorted({word for *_, labels in responses for word in labels}))
    listing.emotions = _emotion_set(emotions, words)
    for utterance, listener, labels in responses:
        _add_response(utterance, listener, labels, listing)
    if dataset.speaker is None:
        listing.notes.append("no column of speakers was named: the person can only be the listener")
    return listing


class _BadRow(Exception):
    """A row that cannot be used. The message is the reason."""


class _Recordings:
    """Adds the utterances of rows to a listing and writes each recording once.

    `dtype` is the type of samples that the dataset's tables hold, if they do.
    """

    def __init__(
        self, audio_out: Path, dataset: HuggingFaceDataset, listing: Listing, dtype: str | None
    ) -> None:
        self._dtype = dtype
        self._audio_out = audio_out
        self._dataset = dataset
        self._listing = listing
        self._first: dict[str, tuple[int, Utterance, str]] = {}

    def add(self, number: int, row: dict[str, Any]) -> str:
        """Add the utterance of a row, unless an earlier row did, and return its id.

        Raises UserError if an earlier row with the same id differs, _BadRow if there is no recording.
        """
        content, path = self._content(row[self._dataset.audio])
        name = _cell(row, self._dataset.id, default=self._within(path) or f"{number:06d}")
        digest = hashlib.sha256(content).hexdigest() if content else path
        first_number, first, first_digest = self._first.get(name, (number, None, digest))
        audio = first.audio if first else self._audio(number, content, path)
        utterance = Utterance(
            name,
            audio,
            _cell(row, self._dataset.speaker, UNKNOWN_SPEAKER),
            _cell(row, self._dataset.session, "1"),
            _cell(row, self._dataset.text, ""),
        )
        if first is None:
            self._first[name] = number, utterance, digest
            self._listing.utterances.append(utterance)
        elif (first, first_digest) != (utterance, digest):
            raise UserError(
                f"{self._dataset.name}, rows {first_number} and {number}: {name} differs in audio, speaker, "
                "session or text: give as --dataset.id a column that identifies a recording"
            )
        return name

    def _content(self, cell: Any) -> tuple[bytes, str]:
        """Return a recording's bytes and its path; either is empty if the table does not have it."""
        if isinstance(cell, str) and cell:
            return b"", cell
        if isinstance(cell, bytes) and cell:
            return cell, ""
        if isinstance(cell, dict) and cell.get("array"):
            typed = np.asarray(
                cell["array"], dtype=self._dtype
            )  # a list does not say the type of its numbers
            return _encoded(cell | {"array": typed}), cell.get("path") or ""
        if isinstance(cell, dict) and (cell.get("bytes") or cell.get("path")):
            return cell.get("bytes") or b"", cell.get("path") or ""
        if isinstance(cell, list) and cell:
            raise _BadRow("samples without their rate: give --dataset.audio with both, or with files")
        raise _BadRow("no recording" if not cell else f"no recording, but {type(cell).__name__}")

    def _within(self, path: str) -> str:
        """Return a path relative to the dataset's folder, so that it is the same wherever that is."""
        folder = Path(self._dataset.name).absolute()
        return Path(path).relative_to(folder).as_posix() if Path(path).is_relative_to(folder) else path

    def _audio(self, number: int, content: bytes, path: str) -> str:
        if not content:
            return (Path(self._dataset.name).absolute() / path).as_posix()
        suffix = Path(path).suffix.lower()
        # Decoders look at the content, so `.wav` does no harm where the suffix is unknown.
        audio = f"{number:06d}{suffix if suffix in AUDIO_SUFFIXES else '.wav'}"
        self._audio_out.mkdir(parents=True, exist_ok=True)
        (self._audio_out / audio).write_bytes(content)
        return audio


def _sample_type(feature: Any) -> str | None:
    """Return the type of the numbers in a column's field `array`; None where it has none."""
    samples = feature.get("array") if isinstance(feature, dict) else None
    return getattr(getattr(samples, "feature", None), "dtype", None)


def _encoded(samples: dict[str, Any]) -> bytes:
    """Return samples with their rate as a file's content. Raises _BadRow for those that cannot be used."""
    try:
        waveform = load_audio(samples, min_seconds=0.0)
    except BadAudio as error:
        raise _BadRow(str(error)) from error
    stream = BytesIO()
    soundfile.write(stream, waveform.numpy(), SAMPLE_RATE, format="WAV", subtype="FLOAT")
    return stream.getvalue()


def _load(dataset: HuggingFaceDataset) -> Dataset:
    """Return the split's table with its audio not decoded. Raises UserError if it cannot be loaded."""
    import datasets  # here, so that `perser prepare --list` and `--help` do not wait for it

    if not dataset.name:
        raise UserError("huggingface needs --dataset.name: a name on the Hub, or a local folder")
    folder = Path(dataset.name)
    check_name(folder)
    try:
        if any((folder / name).is_file() for name in SAVED):
            loaded = datasets.load_from_disk(dataset.name)
            table = _split(loaded, dataset) if isinstance(loaded, datasets.DatasetDict) else loaded
        else:
            table = datasets.load_dataset(dataset.name, dataset.config, split=dataset.split)
    except UserError:
        raise
    except Exception as error:  # a damaged folder makes the library raise anything at all
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())[:LONGEST_REASON].rstrip(".") or type(cause).__name__
        raise UserError(
            f"--dataset.name {dataset.name}, split {dataset.split}: {reason} (it cannot be loaded: see that "
            "it has such a split, with rows, or get it again)"
        ) from error
    columns = {name: column for name in COLUMNS if (column := getattr(dataset, name)) is not None}
    for name, column in columns.items():
        if column not in table.column_names:
            raise UserError(
                f"{dataset.name} has no column {column!r}: give --dataset.{name} as one of "
                f"{', '.join(table.column_names)}"
            )
    table = table.select_columns(sorted(set(columns.values())))  # other columns are not decoded
    with explain_damage(f"--dataset.name {dataset.name}", "get it again"):
        table.data.table.validate(full=True)  # otherwise damage lets Arrow read beyond its memory
    if isinstance(table.features[dataset.audio], datasets.Audio):
        table = table.cast_column(dataset.audio, datasets.Audio(decode=False))
    return table


def _split(splits: DatasetDict, dataset: HuggingFaceDataset) -> Dataset:
    """Return the split that is asked for of several on disk, or those that are joined by `+`."""
    from datasets import concatenate_datasets

    names = [name.strip() for name in dataset.split.split("+")]
    if unknown := [name for name in names if name not in splits]:
        raise UserError(
            f"{dataset.name} has no split '{unknown[0]}': give --dataset.split as one of "
            f"{', '.join(splits)}, or as several with + between them"
        )
    return concatenate_datasets([splits[name] for name in names])


def _source(dataset: HuggingFaceDataset) -> str:
    folder = Path(dataset.name)
    return folder.name if folder.exists() else f"{HUB}/{dataset.name}"


def _label_parser(table: Dataset, column: str) -> tuple[Callable[[Any], Emotions], Emotions]:
    """Return a function from a cell of labels to words, and the class labels (none for words)."""
    from datasets import ClassLabel, LargeList, List

    feature = table.features[column]
    inner = feature.feature if isinstance(feature, List | LargeList) else feature
    names = (
        tuple(" ".join(parse_emotions(name)) for name in inner.names) if isinstance(inner, ClassLabel) else ()
    )
    if not names and getattr(inner, "dtype", None) not in TEXTS:
        raise UserError(
            f"the column {column!r} holds {feature}, neither words nor class labels: give --dataset.emotions "
            "as a column of words, or cast the numbers to class labels (`datasets.ClassLabel(names=[...])`)"
        )

    def words_in(cell: Any) -> Emotions:
        labels = cell if isinstance(cell, list) else [cell]
        return tuple(dict.fromkeys(word for label in labels if label is not None for word in words_of(label)))

    def words_of(label: Any) -> Emotions:
        if not names:
            return parse_emotions(label)
        return (names[label],) if label >= 0 else ()  # -1 means no label

    return words_in, names


def _emotion_set(emotions: str | None, words: Emotions) -> Emotions:
    """Return the emotions that the user chose, or all words. Raises UserError for one that no row has."""
    chosen = parse_emotions(emotions) if emotions else words
    unknown = [word for word in chosen if word not in words]
    if unknown:
        raise UserError(f"--emotions: nothing is labeled '{unknown[0]}', only {', '.join(words)}")
    return chosen


def _add_response(utterance: str, listener: str, labels: Emotions, listing: Listing) -> None:
    known = tuple(word for word in labels if word in listing.emotions)
    for word in labels:
        if word not in known:
            listing.drop(f"labels of {word}")
    if known:
        listing.annotations.append(Annotation(utterance, listener, known))


def _cell(row: dict[str, Any], column: str | None, default: str) -> str:
    try:
        return as_text(row[column] if column else None) or default
    except TypeError as error:
        raise UserError(f"the column {column!r} holds {error}, not a text: name another one") from None


HUGGINGFACE = CorpusReader(read_huggingface, ABOUT)
