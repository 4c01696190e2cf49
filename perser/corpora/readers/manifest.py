"""Your own recordings, listed in a CSV or JSONL manifest with one annotation per row.

path,speaker,listener,emotions            # optional: utterance_id, session, text
clips/hello.wav,anna,me,happy;excited
"""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from perser.corpora.listing import About, Annotation, CorpusReader, Listing, Utterance
from perser.errors import UserError
from perser.labels import Emotions, parse_emotions

REQUIRED = ("path", "speaker", "listener", "emotions")

OPTIONAL = ("utterance_id", "session", "text")

NAMES = ("manifest.csv", "manifest.jsonl")

ABOUT = About(
    what="your own recordings, labeled by whom you name",
    source="your own files",
    license="the user's own",
    axes=("listener", "speaker"),
    how_to_get="write a CSV or JSONL file with path, speaker, listener and emotions; --root is that file",
)


def read_manifest(root: Path, emotions: str | None = None) -> Listing:
    """Read a manifest. A recording with several listeners has several rows.

    Args:
        root: The CSV or JSONL file, or a folder with one `manifest.csv` or `manifest.jsonl`. Paths in it are
            relative to its folder.
        emotions: The emotion set in class order, separated by `;`. Without it, the words in the manifest,
            sorted.
    """
    file = _manifest_file(root)
    emotion_set = parse_emotions(emotions) if emotions else None
    rows = _Rows(file, emotion_set)
    for line, cells in _lines(file):
        rows.add(line, cells)
    if not rows.annotations:
        raise UserError(f"{file} has no rows: list at least one recording")
    rows.check_repeats()
    return Listing(
        name="manifest",
        emotions=emotion_set or tuple(sorted({word for labels in rows.labels.values() for word in labels})),
        audio_root=file.parent,
        utterances=rows.utterances,
        annotations=rows.annotations,
        source=file.name,
        license=ABOUT.license,
    )


class _Rows:
    """The content of a manifest's rows. Equal texts are stored once, because there may be millions of rows.

    Args:
        file: The manifest, for messages.
        known: The emotion set, if the user gave one.
    """

    def __init__(self, file: Path, known: Emotions | None) -> None:
        self.utterances: list[Utterance] = []
        self.annotations: list[Annotation] = []
        self.labels: dict[str, Emotions] = {}
        """The label set of each text in the column `emotions`."""
        self._file = file
        self._known = known
        self._first: dict[str, tuple[int, Utterance]] = {}
        self._listeners: dict[str, str] = {}
        self._lines = array("q")

    def add(self, line: int, cells: dict[str, object]) -> None:
        """Add a row.

        Raises UserError for a row with an empty cell or an unknown emotion, or one that contradicts an
        earlier row on the same recording.
        """
        utterance, listener, labels = self._parse(line, cells)
        first_line, first = self._first.setdefault(utterance.utterance_id, (line, utterance))
        if first is utterance:
            self.utterances.append(utterance)
        elif first != utterance:
            raise UserError(
                f"{self._file}, lines {first_line} and {line}: {first.utterance_id} differs in path, "
                "speaker, session or text: make them agree, or give different utterance_ids"
            )
        listener = self._listeners.setdefault(listener, listener)
        self.annotations.append(Annotation(first.utterance_id, listener, labels))
        self._lines.append(line)

    def _parse(self, line: int, cells: dict[str, object]) -> tuple[Utterance, str, Emotions]:
        def cell(name: str, default: str = "") -> str:
            text = "" if (value := cells.get(name)) is None else str(value).strip()
            return text or default

        words = cells.get("emotions")
        labels = self._labels(
            line, ";".join(map(str, words)) if isinstance(words, list) else cell("emotions")
        )
        empty = [name for name in REQUIRED[:3] if not cell(name)] + ([] if labels else ["emotions"])
        if empty:
            raise UserError(
                f"{self._file}, line {line}: no {', '.join(empty)}: fill it in or remove the line"
            )
        path = cell("path")
        utterance = Utterance(
            utterance_id=cell("utterance_id", default=path),
            audio=path,
            speaker=cell("speaker"),
            session=cell("session", default="1"),
            text=cell("text"),
        )
        return utterance, cell("listener"), labels

    def _labels(self, line: int, text: str) -> Emotions:
        if text not in self.labels:
            labels = parse_emotions(text)
            for word in labels if self._known else ():
                if word not in self._known:
                    raise UserError(
                        f"{self._file}, line {line}: unknown emotion '{word}': the set given is "
                        f"{', '.join(self._known)}"
                    )
            self.labels[text] = labels
        return self.labels[text]

    def check_repeats(self) -> None:
        """Raise UserError if a listener labels a recording twice."""
        utterances = {row.utterance_id: index for index, row in enumerate(self.utterances)}
        listeners = {name: index for index, name in enumerate(self._listeners)}
        pairs = np.fromiter(  # one number for each pair of utterance and listener
            (
                utterances[annotation.utterance_id] * len(listeners) + listeners[annotation.listener]
                for annotation in self.annotations
            ),
            dtype=np.int64,
            count=len(self.annotations),
        )
        order = np.argsort(pairs, kind="stable")
        repeats = np.flatnonzero(pairs[order][1:] == pairs[order][:-1])
        if len(repeats):
            first, second = order[repeats[0]], order[repeats[0] + 1]
            repeated = self.annotations[first]
            raise UserError(
                f"{self._file}, lines {self._lines[first]} and {self._lines[second]}: {repeated.listener} "
                f"labels {repeated.utterance_id} twice: keep one of the two lines"
            )


def _manifest_file(root: Path) -> Path:
    if root.is_dir():
        files = [root / name for name in NAMES if (root / name).is_file()]
        if len(files) != 1:
            problem = "no manifest.csv or manifest.jsonl" if not files else "two manifests"
            raise UserError(f"{root} holds {problem}: give the file itself as --root")
        return files[0]
    if not root.is_file():
        raise UserError(f"--root {root} is not there: give the manifest (CSV or JSONL) or its folder")
    if root.suffix.lower() not in (".csv", ".jsonl"):
        raise UserError(f"{root} is neither .csv nor .jsonl: save the manifest as one of these")
    return root


def _lines(file: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the rows with their line numbers. A byte-order mark and Windows line ends are accepted."""
    read = _csv_lines if file.suffix.lower() == ".csv" else _jsonl_lines
    try:
        yield from read(file)
    except UnicodeDecodeError:
        raise UserError(f"{file} is not UTF-8: save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error


def _csv_lines(file: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        # strict, because otherwise a quotation mark that is never closed would swallow all rows after it.
        reader = csv.DictReader(stream, skipinitialspace=True, strict=True)
        try:
            header = [(name or "").strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            _check_header(file, header)
            for row in reader:
                _check_cells(file, reader.line_num, row, len(header))
                yield reader.line_num, row
        except csv.Error as error:
            raise UserError(f"{file}, line {reader.line_num}: {error}: mend the line") from error


def _check_header(file: Path, header: list[str]) -> None:
    missing = [column for column in REQUIRED if column not in header]
    if missing and header:
        raise UserError(f"{file} has no column {', '.join(missing)} (line 1): name the columns as required")
    twice = [column for column in (*REQUIRED, *OPTIONAL) if header.count(column) > 1]
    if twice:
        raise UserError(f"{file} has the column {twice[0]} twice (line 1): keep one")


def _check_cells(file: Path, line: int, row: dict[str | None, object], columns: int) -> None:
    """Raise UserError if a row has more cells than the header, as with a comma in a text without quotes."""
    if any(cell.strip() for cell in row.pop(None, ())):
        raise UserError(
            f"{file}, line {line}: more cells than the {columns} columns: put a cell with commas in quotes"
        )


def _jsonl_lines(file: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with file.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # numbers of 5,000 digits, lists 10,000 deep
                reason = getattr(error, "msg", error)
                raise UserError(f"{file}, line {number}: not JSON ({reason}): mend the line") from None
            if not isinstance(row, dict):
                raise UserError(f"{file}, line {number}: not a JSON object: give one object a line")
            if "\\ud" in line.lower() and not _is_unicode(row):
                raise UserError(f"{file}, line {number}: half of a character (\\ud800 ...): mend the line")
            yield number, row


def _is_unicode(row: dict[str, object]) -> bool:
    try:
        return bool(json.dumps(row, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        return False


MANIFEST = CorpusReader(read_manifest, ABOUT)
