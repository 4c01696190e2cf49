"""Find the files that people name in tables and lists, by hand or with a program of another system."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePath

from perser.errors import UserError
from perser.io.text_lines import read_lines, visible

COMMENT = "#"
"""A line that begins with it is a comment, unless a file of that name is there."""


HOME = "~/"
"""Stands for the home folder at the beginning of a path. Shells replace it, not in files or behind `=`."""


def named_path(text: str | os.PathLike[str]) -> Path:
    """Return the path that a person names, where `~/` is their home folder, unless that path is really
    there."""
    path = Path(text)
    if not os.fspath(text).startswith(HOME) or os.path.lexists(path):
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # there is no home folder
        return path


def listed_path(table: Path, text: str) -> str:
    """Return a path in the one form that its file has in tables and lists, relative to this one or absolute.

    `./a.wav`, `x/../a.wav` and `a.wav` are one file. So are a name with backslashes and one with slashes, and
    the Unicode forms NFC and NFD of a name, unless there are really two files. `~/` is the home folder.
    """
    if text.startswith(HOME) and not _exists(table.parent / text):
        text = named_path(text).as_posix()
    if text.isascii() and not any(part in text for part in ("\\", "./", "//")):
        return text
    folder = table.parent
    plain = _without_detours(folder, text)
    composed = unicodedata.normalize("NFC", plain)
    if composed != plain and _same_file(folder / composed, folder / plain):
        return composed  # as on macOS, where both forms find the file
    slashes = _without_detours(folder, plain.replace("\\", "/"))
    forms = [unicodedata.normalize(form, name) for name in (plain, slashes) for form in ("NFC", "NFD")]
    there = (form for form in (plain, slashes, *forms) if _exists(folder / form))
    return next(there, unicodedata.normalize("NFC", slashes))


def read_list(file: Path) -> list[Path]:
    """Return the files that a list names, one a line, relative to the list.

    Empty lines and comments are skipped. A name in quotes is taken out of them, unless it has them itself.
    Names that are not UTF-8 are read as the system has them. Raises UserError for a list that cannot be read,
    or that names nothing.
    """
    try:
        with file.open("rb") as stream:
            lines = list(read_lines(file, stream, errors="surrogateescape"))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    names = [name for line in lines if (name := _listed_name(file, visible(line)))]
    if not names:
        raise UserError(f"{file} lists no recordings: write the name of a file on each line")
    return [file.parent / name for name in names]


def is_comment(table: Path, text: str) -> bool:
    """Return whether a line is a comment: it begins with `#`, and is not the name of a file."""
    return text.startswith(COMMENT) and not _exists(table.parent / text)


def _listed_name(file: Path, text: str) -> str:
    """Return the path on a line of a list; empty for a comment or an empty line."""
    if not text or is_comment(file, text):
        return ""
    is_quoted = len(text) > 2 and text[0] == text[-1] and text[0] in "\"'"
    return listed_path(file, text[1:-1] if is_quoted and not _exists(file.parent / text) else text)


def _without_detours(folder: Path, text: str) -> str:
    """Return a path without `./`, `//` and `x/../`; the last only where no link leads elsewhere."""
    plain = PurePath(text).as_posix()
    shorter = os.path.normpath(plain)
    return shorter if ".." in text and _same_file(folder / shorter, folder / plain) else plain


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or that no file can have
        return False


def _same_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except (OSError, ValueError):
        return False
