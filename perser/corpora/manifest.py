"""Your own recordings, listed in a CSV or JSONL manifest: one annotation a row.

path,speaker,listener,emotions            # optional: utterance_id, session, text
clips/hello.wav,anna,me,happy;excited
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perser.corpora.about import About, described
from perser.corpora.listing import Annotation, Listing, Utterance
from perser.errors import UserError
from perser.labels import Emotions, parse_emotions

REQUIRED = ("path", "speaker", "listener", "emotions")
OPTIONAL = ("utterance_id", "session", "text")
NAMES = ("manifest.csv", "manifest.jsonl")
ABOUT = About(
    what="your own recordings, labelled by whom you name",
    source="your own files",
    licence="the user's own",
    axes=("listener", "speaker"),
    how_to_get="write a CSV or JSONL file with path, speaker, listener and emotions; --root is that file",
)


@described(ABOUT)
def manifest(root: Path, emotions: str | None = None) -> Listing:
    """Read a manifest. A recording with several listeners has several rows.

    Args:
        root: the CSV or JSONL file, or a folder with one `manifest.csv` or `manifest.jsonl`; paths in it
            are relative to its folder.
        emotions: the emotion set in class order, `;` between; without it, the words found, sorted.
    """
    file = _manifest_file(root)
    rows = [_row(file, line, cells) for line, cells in _lines(file)]
    if not rows:
        raise UserError(f"{file} has no rows: list at least one recording")
    names = (
        parse_emotions(emotions)
        if emotions
        else tuple(sorted({word for row in rows for word in row.emotions}))
    )
    _check_words(file, rows, names)
    return Listing(
        name="manifest",
        emotions=names,
        audio_root=file.parent,
        utterances=_utterances(file, rows),
        annotations=_annotations(file, rows),
        source=file.name,
        licence=ABOUT.licence,
    )


@dataclass(frozen=True)
class _Row:
    line: int
    utterance: Utterance
    listener: str
    emotions: Emotions


def _manifest_file(root: Path) -> Path:
    if root.is_dir():
        found = [root / name for name in NAMES if (root / name).is_file()]
        if len(found) != 1:
            problem = "no manifest.csv or manifest.jsonl" if not found else "two manifests"
            raise UserError(f"{root} holds {problem}: give the file itself as --root")
        return found[0]
    if not root.is_file():
        raise UserError(f"--root {root} is not there: give the manifest (CSV or JSONL) or its folder")
    if root.suffix.lower() not in (".csv", ".jsonl"):
        raise UserError(f"{root} is neither .csv nor .jsonl: save the manifest as one of these")
    return root


def _lines(file: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Rows with their line numbers; a byte-order mark and Windows line ends are forgiven."""
    read = _csv_lines if file.suffix.lower() == ".csv" else _jsonl_lines
    try:
        yield from read(file)
    except UnicodeDecodeError:
        raise UserError(f"{file} is not UTF-8: save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error


def _csv_lines(file: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        # Strict: else a quotation mark that is never closed would swallow the rows after it.
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
    """Raises UserError for cells beyond the header's, such as the text after a comma without quotes."""
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
            yield number, row


def _row(file: Path, line: int, cells: dict[str, object]) -> _Row:
    def cell(name: str, default: str = "") -> str:
        value = cells.get(name)
        return str(value).strip() if value is not None and str(value).strip() else default

    given = cells.get("emotions")
    emotions = parse_emotions(";".join(map(str, given)) if isinstance(given, list) else cell("emotions"))
    empty = [name for name in REQUIRED[:3] if not cell(name)] + ([] if emotions else ["emotions"])
    if empty:
        raise UserError(f"{file}, line {line}: no {', '.join(empty)}: fill it in or remove the line")
    path = cell("path")
    utterance = Utterance(
        utterance_id=cell("utterance_id", default=path),
        audio=path,
        speaker=cell("speaker"),
        session=cell("session", default="1"),
        text=cell("text"),
    )
    return _Row(line, utterance, cell("listener"), emotions)


def _check_words(file: Path, rows: list[_Row], names: Emotions) -> None:
    for row in rows:
        for word in row.emotions:
            if word not in names:
                raise UserError(
                    f"{file}, line {row.line}: unknown emotion '{word}': the set given is {', '.join(names)}"
                )


def _utterances(file: Path, rows: list[_Row]) -> list[Utterance]:
    """One a recording. Raises UserError where two rows say different things of the same one."""
    first: dict[str, _Row] = {}
    for row in rows:
        earlier = first.setdefault(row.utterance.utterance_id, row)
        if earlier.utterance != row.utterance:
            raise UserError(
                f"{file}, lines {earlier.line} and {row.line}: {row.utterance.utterance_id} differs in path, "
                "speaker, session or text: make them agree, or give different utterance_ids"
            )
    return [row.utterance for row in first.values()]


def _annotations(file: Path, rows: list[_Row]) -> list[Annotation]:
    """Raises UserError where a listener labels a recording twice."""
    lines: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row.utterance.utterance_id, row.listener)
        if lines.setdefault(key, row.line) != row.line:
            raise UserError(
                f"{file}, lines {lines[key]} and {row.line}: {row.listener} labels {key[0]} twice: keep one"
            )
    return [Annotation(row.utterance.utterance_id, row.listener, row.emotions) for row in rows]
