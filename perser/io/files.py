"""Output folders that are either whole or not there.

Digests of files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError

from perser.errors import UserError


def check_replaceable(out: Path, marker: str) -> None:
    """Raises UserError for an existing `out` that is neither empty nor of this kind: called before hours of
    work, not after."""
    if out.exists() and not (out / marker).exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and holds no {marker}: give another output folder, or remove it")


def check_output(out: Path, marker: str) -> None:
    """Raises UserError for what `check_replaceable` refuses, and where nothing can be written beside `out`."""
    check_replaceable(out, marker)
    with explain_write_errors(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent)).rmdir()


@contextmanager
def atomic_folder(out: Path, marker: str) -> Iterator[Path]:
    """Give a temporary folder beside `out` to write into; it takes `out`'s name only if all went well.
    A run that is killed meanwhile leaves the old folder whole, or the new one.

    An `out` that holds `marker` (the file that every folder of this kind has) is replaced; any other
    existing folder with something in it is left alone with a UserError, so nothing of the user's is lost.
    """
    out = Path(out)
    if out.is_symlink():  # what it leads to is replaced, not the link
        out = out.resolve()
    check_replaceable(out, marker)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise UserError(f"cannot write in {out.parent}: {error.strerror}") from error
    try:
        yield temporary
        _as_others_are(temporary)
        swap_folders(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _as_others_are(folder: Path) -> None:
    """mkdtemp's folder and the files of safetensors are private to who made them: here they are as readable
    as this process makes files otherwise."""
    umask = os.umask(0)
    os.umask(umask)
    for one in (folder, *folder.rglob("*")):
        if not one.is_symlink():
            one.chmod((0o777 if one.is_dir() else 0o666) & ~umask)


@contextmanager
def explain_write_errors(place: Path, advice: str = "") -> Iterator[None]:
    """Inside, what the system has against writing (a full disk, no permission) becomes a UserError that names
    the place; `advice` follows it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        said = " ".join((getattr(error, "strerror", None) or str(error)).split())
        raise UserError(f"cannot write {place} ({said}){advice and ': '}{advice}") from error


def swap_folders(new: Path, out: Path) -> None:
    """Give the folder `new` the name `out`; what had it is moved away first, and deleted last."""
    if not out.exists():
        new.replace(out)
        return
    old = new.with_name(f"{new.name}-old")
    out.replace(old)
    try:
        new.replace(out)
    except BaseException:
        old.replace(out)
        raise
    shutil.rmtree(old)


def write_text_atomic(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, never meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)


def append_line(file: Path, line: str) -> None:
    """Write one more line at a file's end. Raises UserError where that fails."""
    with explain_write_errors(file), file.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


def file_sha256(file: Path) -> str:
    """Of its content, read once a process for every state of the file: weights are large."""
    facts = file.stat()
    return _sha256_of_state(file, facts.st_size, facts.st_mtime_ns)


def weights_sha256(folder: Path) -> str | None:
    """Of all weights in a model's folder, at any depth: equal where all numbers are. None without any."""
    files = sorted(folder.rglob("*.safetensors"))
    digest = hashlib.sha256(b"".join(bytes.fromhex(file_sha256(one)) for one in files))
    return digest.hexdigest() if files else None


@lru_cache(maxsize=1024)
def _sha256_of_state(file: Path, size: int, modified: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
