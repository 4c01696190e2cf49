"""Write folders and files so that a reader, or a crash, never meets half of one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from perser.errors import UserError, is_unicode


def check_name(path: Path) -> None:
    """Raise UserError for a file or folder whose path is not UTF-8: safetensors and Arrow cannot open it."""
    place = os.path.normpath(path.absolute())  # without `..`
    if not is_unicode(place):
        raise UserError(
            f"{place}: its name is not UTF-8, and only recordings and tables can have such names: rename it"
        )


def check_replaceable(out: Path, marker: str) -> None:
    """Raise UserError if `out` exists, is not empty and does not hold the file `marker`.

    Every folder of one kind holds the same marker, so a folder without it may be the user's own. Commands
    call this before hours of work, not after.
    """
    check_name(out)
    if out.exists() and not (out / marker).exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and holds no {marker}: give another output folder, or remove it")


def check_output(out: Path, marker: str) -> None:
    """Raise UserError if `out` may not be replaced, or if its parent folder cannot be written to."""
    check_replaceable(out, marker)
    with explain_write_errors(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent)).rmdir()


@contextmanager
def atomic_folder(out: Path, marker: str) -> Iterator[Path]:
    """Yield a temporary folder beside `out`, and rename it to `out` if the block ends without an error.

    If the process is killed meanwhile, either the old folder or the new one is there, complete. An existing
    `out` is replaced only if it holds the file `marker`. Raises UserError for any other folder that is not
    empty, so that nothing of the user's is lost.
    """
    out = Path(out)
    if out.is_symlink():  # replace the folder that the link points to, and keep the link
        out = out.resolve()
    check_replaceable(out, marker)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise UserError(f"cannot write in {out.parent}: {error.strerror}") from error
    try:
        yield temporary
        _apply_umask(temporary)
        swap_folders(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def swap_folders(new: Path, out: Path) -> None:
    """Rename the folder `new` to `out`. An existing `out` is moved aside first and deleted last."""
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
    """Write a UTF-8 file as `write_bytes_atomic` does.

    Parts of the names of files that are not Unicode become escape sequences.
    """
    write_bytes_atomic(path, text.encode("utf-8", "backslashreplace"))


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a file by way of a temporary file and a rename. Nothing of it is left if that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    temporary = Path(name)
    try:
        os.close(descriptor)
        temporary.write_bytes(content)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def append_line(file: Path, line: str) -> None:
    """Append one line to a file. Raises UserError if that fails."""
    with (
        explain_write_errors(file),
        file.open("a", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        stream.write(line + "\n")


@contextmanager
def explain_write_errors(place: Path, advice: str = "") -> Iterator[None]:
    """Turn errors of writing (a full disk, no permission) into a UserError that names `place`.

    `advice`, if given, ends the message.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
        raise UserError(f"cannot write {place} ({reason}){advice and ': '}{advice}") from error


def _apply_umask(folder: Path) -> None:
    """Give a folder and all in it the permissions that this process gives to new files.

    `mkdtemp` and safetensors make theirs readable by the owner alone.
    """
    umask = os.umask(0)
    os.umask(umask)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
