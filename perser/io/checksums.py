"""A seal on a folder of a model or a corpus: the digests of its files, by which one that was cut or changed
is told from what was saved. It says nothing of who saved it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from perser.errors import UserError
from perser.io.files import file_sha256, write_text_atomic
from perser.io.json_files import read_json

CHECKSUMS = "checksums.json"


def write_checksums(folder: Path, patterns: Iterable[str]) -> None:
    """Write `checksums.json`: sha256 by name of the folder's files that fit the patterns."""
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    digests = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    write_text_atomic(folder / CHECKSUMS, json.dumps(digests, indent=1) + "\n")


def verify_checksums(folder: Path, remedy: str = "get the model again, or train it again") -> None:
    """Raises UserError that names a sealed file which is gone or is not what was saved, and the remedy; a
    folder without a seal is taken as it is."""
    if not (folder / CHECKSUMS).is_file():
        return
    digests = read_json(folder / CHECKSUMS)
    if digests is None:
        raise UserError(f"{folder / CHECKSUMS} is damaged: {remedy}")
    for name, digest in digests.items():
        file = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts or not file.is_file():
            raise UserError(f"{folder} is damaged, it lacks {name}: {remedy}")
        if file_sha256(file) != digest:
            raise UserError(
                f"{file} is damaged, it is not what was saved: {remedy} (a change of yours: delete {CHECKSUMS})"
            )
