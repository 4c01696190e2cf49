"""Walk over a folder: the files in it, and the recordings among them. Every command that takes a folder walks
it here, so that all of them find the same files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from perser.audio import AUDIO_SUFFIXES
from perser.errors import UserError, nearest, one_line
from perser.io.terminal import counted

MACOS_FOLDER = "__MACOSX"
"""macOS puts this folder into zip files. It holds attributes of the files (`._x.wav`), not the files."""

ANY_DEPTH = "**"
"""What stands in a pattern for any number of folders, none among them."""


SHOWN = 3
"""How many links that are skipped are named."""


def is_left_out(name: str) -> bool:
    """Return whether a walk leaves out what has this name: hidden files and folders, and macOS's own."""
    return name.startswith(".") or name == MACOS_FOLDER


def audio_files(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """Yield the recordings in a folder that match a glob pattern, sorted by path.

    A recording is a file with one of `AUDIO_SUFFIXES`. See `walk` for what is left out, and for links.
    """
    return (path for path in walk(folder, pattern) if path.suffix.lower() in AUDIO_SUFFIXES)


def walk(folder: Path, pattern: str = "**/*") -> list[Path]:
    """Return the files in a folder that match a glob pattern, sorted by path.

    Hidden files and folders and `__MACOSX` folders are left out. Links to folders are followed, but each
    folder is read once, by its own path where that is in `folder` too, and no link leads back up: a link to
    the folder itself is passed over, and so is one to a folder that holds it, which a line on standard error
    says. A link whose target is gone counts as a file. Raises UserError for a folder that cannot be read.
    """
    parts = pattern.split("/")
    depth = None if ANY_DEPTH in parts else len(parts)
    found = _files(folder, depth) if folder.is_dir() else []
    return sorted(path for path in found if _matches(path.relative_to(folder).parts, parts))


def did_you_mean(missing: Path) -> str:
    """Return ` (did you mean X?)` for a path that is not there where something has a name like it.

    Return nothing for a path that is there, or where no name is like it.
    """
    for parent in () if os.path.lexists(missing) else missing.parents:
        if not parent.is_dir():
            continue
        name, *rest = missing.relative_to(parent).parts
        try:
            names = [path.name for path in parent.iterdir() if not is_left_out(path.name)]
        except OSError:
            return ""
        found = nearest(name, names)
        if found is None:
            return ""
        whole = parent.joinpath(found, *rest)
        return f" (did you mean {whole if whole.exists() else parent / found}?)"
    return ""


def _files(folder: Path, depth: int | None) -> Iterator[Path]:
    """Yield the files at most `depth` levels below a folder; None: at any depth. Links come last."""
    above = {_identity(parent) for parent in folder.resolve().parents}
    seen: set[tuple[int, int]] = set()
    upwards: list[str] = []
    folders, links = [folder], list[Path]()
    while folders or links:
        links.sort(reverse=True)
        place = (folders or links).pop()
        identity = _identity(place)
        if identity in above:
            upwards.append(place.relative_to(folder).as_posix())
        if identity in above or identity in seen:
            continue
        seen.add(identity)
        is_deepest = depth is not None and len(place.relative_to(folder).parts) >= depth - 1
        for path, is_folder in _entries(place):
            if not is_folder:
                yield path
            elif not is_deepest:
                (links if path.is_symlink() else folders).append(path)
    if upwards:
        more = ", ..." if len(upwards) > SHOWN else ""
        print(
            f"perser: {folder}: {counted(len(upwards), 'link')} to a folder that holds it skipped: "
            f"{', '.join(map(one_line, upwards[:SHOWN]))}{more}",
            file=sys.stderr,
        )


def _entries(folder: Path) -> list[tuple[Path, bool]]:
    """Return what is in a folder, without what is left out, and whether each is a folder."""
    try:
        with os.scandir(folder) as entries:
            kept = [(folder / entry.name, entry) for entry in entries if not is_left_out(entry.name)]
            # `Path.is_dir` also answers for links in a circle, where `DirEntry.is_dir` raises an error.
            return [(path, (path if entry.is_symlink() else entry).is_dir()) for path, entry in kept]
    except OSError as error:
        raise UserError(
            f"cannot read the folder {folder}: {error.strerror or error}; allow it, or move it elsewhere"
        ) from error


def _identity(folder: Path) -> tuple[int, int]:
    """Return what two paths of one folder have in common."""
    facts = folder.stat()
    return facts.st_dev, facts.st_ino


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the parts of a path match those of a glob pattern."""
    if not pattern:
        return not names
    if pattern[0] == ANY_DEPTH:
        return any(_matches(names[skipped:], pattern[1:]) for skipped in range(len(names)))
    return bool(names) and fnmatch(names[0], pattern[0]) and _matches(names[1:], pattern[1:])
