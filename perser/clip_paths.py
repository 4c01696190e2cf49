"""Which clips a command is given: files, folders of them, or lists of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from perser.errors import UserError
from perser.labels import Emotions, parse_emotions

AUDIO_SUFFIXES = {
    *(".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".wma", ".aif", ".aiff"),
    *(".au", ".caf", ".w64", ".webm", ".mp4", ".mka"),
}
"""What is taken for a recording in a folder; a file that is named itself may have any other."""
LIST_SUFFIXES = (".txt", ".lst")


def clip_paths(given: Iterable[str | Path]) -> list[Path]:
    """The clips: each file as it is, a folder's recordings at any depth and sorted, and what a list (`.txt`
    or `.lst`, a path a line, relative to the list) names. Raises UserError for a folder without any."""
    found: list[Path] = []
    for path in map(Path, given):
        if _is_folder(path):
            inside = sorted(one for one in path.rglob("*") if one.suffix.lower() in AUDIO_SUFFIXES)
            if not inside:
                raise UserError(f"{path} is a folder without recordings: give another one, or files")
            found += inside
        elif path.suffix.lower() in LIST_SUFFIXES:
            lines = (line.strip() for line in _text(path).splitlines())
            found += [path.parent / line for line in lines if line]
        else:
            found.append(path)
    return found


def read_examples(path: Path) -> list[tuple[Path, Emotions]]:
    """The rows of a CSV file with the columns `path` (relative to the file) and `emotions` (several between
    `;`). Raises UserError that names the file and the line."""
    lines = csv.DictReader(_text(path).splitlines())
    examples = []
    try:
        missing = {"path", "emotions"} - set(lines.fieldnames or ())
        if missing:
            raise UserError(
                f"{path} has no column {' and '.join(sorted(missing))}: its first line names them"
            )
        for row in lines:
            emotions = parse_emotions(row["emotions"] or "")
            if not row["path"] or not emotions:
                raise UserError(f"{path}, line {lines.line_num}: a row without a path or without an emotion")
            examples.append((path.parent / row["path"].strip(), emotions))
    except csv.Error as error:
        raise UserError(f"{path}, line {lines.line_num}: {error}: mend the line") from error
    return examples


def parse_example(text: str) -> tuple[Path, Emotions]:
    """`a.wav=happy,excited`. Raises UserError for a text of another form."""
    path, equals, words = text.rpartition("=")
    emotions = parse_emotions(words.replace(",", ";"))
    if not equals or not path or not emotions:
        raise UserError(f"enroll: '{text}' is not of the form clip.wav=emotion or clip.wav=emotion,emotion")
    return Path(path), emotions


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long: whoever opens it says so
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
