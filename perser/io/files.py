"""Write folders and files so that a reader, or a crash, never meets half of one."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from perser.errors import UserError, is_unicode, saying_where


def check_name(path: Path) -> None:
    """Raise UserError for a file or folder whose path is not UTF-8: safetensors and Arrow cannot open it."""
    place = os.path.normpath(path.absolute())  # without `..`
    if not is_unicode(place):
        raise UserError(
            f"{place}: its name is not UTF-8, and only recordings and tables can have such names: rename it"
        )


NAME_BYTES = 100
"""How much of a name is in that of a temporary file or folder. All of it could be more than systems take."""


def temporary_prefix(place: Path) -> str:
    """Return the beginning of the name of a temporary file or folder beside a place: hidden, and like its
    own."""
    return f".{os.fsencode(place.name)[:NAME_BYTES].decode('utf-8', 'ignore')}-"


class NotWritten(UserError):
    """The error for a file or folder that the system does not let us write."""


def check_replaceable(out: Path, marker: str) -> None:
    """Raise UserError if `out` exists, is not empty and does not hold the file `marker`.

    Every folder of one kind holds the same marker, so a folder without it may be the user's own. Commands
    call this before hours of work, not after.
    """
    check_name(out)
    _check_kind(out, is_folder=True)
    if out.exists() and not (out / marker).exists() and any(out.iterdir()):
        raise UserError(f"{out} exists and holds no {marker}: give another output folder, or remove it")


def check_output(out: Path, marker: str, option: str = "out") -> None:
    """Raise UserError if `out` may not be replaced, or if its parent folder cannot be written to.

    `option` is what the command calls it.
    """
    with saying_where(option):
        check_replaceable(out, marker)
    check_outputs(folders={option: out})


def check_outputs(
    files: Mapping[str, Path | None] | None = None, folders: Mapping[str, Path | None] | None = None
) -> None:
    """Raise UserError for a file or folder that cannot be written: it is there and is of the other kind, lies
    below a file, or its folder does not let us write.

    Each command calls this with all its outputs before it does anything. Nothing is left on the disk.

    Args:
        files: Files, by the option that names them; None stands for an output that nobody asked for.
        folders: The same for folders.
    """
    for places, is_folder in ((files, False), (folders, True)):
        for option, place in (places or {}).items():
            if place is not None:
                with saying_where(option):
                    _check_place(place, is_folder)


def _check_place(place: Path, is_folder: bool) -> None:
    """Raise UserError for a file or folder that cannot be written."""
    check_name(place)
    with explain_write_errors(place):
        _check_kind(place, is_folder)
        there = next(path for path in (place, *place.absolute().parents) if path.exists())
        folder = there if is_folder or there != place else place.absolute().parent
        if not folder.is_dir():
            raise UserError(f"cannot write {place}: {folder} is a file, not a folder: give another place")
        Path(tempfile.mkdtemp(prefix=".perser-", dir=folder)).rmdir()


def _check_kind(place: Path, is_folder: bool) -> None:
    """Raise UserError for a file where a folder is to be written, and for a folder, a device or a pipe where
    a file is."""
    with explain_write_errors(place):
        if is_folder and place.exists() and not place.is_dir():
            raise UserError(f"{place} is a file: give a folder")
        if not is_folder and place.is_dir():
            raise UserError(f"{place} is a folder: give the name of a file")
        if not is_folder and place.exists() and not place.is_file():
            raise UserError(f"{place} is a device or a pipe, which a file would replace: give another file")


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
    with explain_write_errors(out):
        _make_folder(out.parent)
        temporary = Path(tempfile.mkdtemp(prefix=temporary_prefix(out), dir=out.parent))
    try:
        yield temporary
        with explain_write_errors(out):
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
    """Write a file by way of a temporary file and a rename. Nothing of it is left if that fails.

    Raises UserError where it cannot be written.
    """
    with new_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`; rename it to `path` if the block ends without an error.

    Where `path` is a link, the file that it leads to is replaced. Raises UserError where it cannot be
    written, the block's own errors of writing among them.
    """
    place = path.resolve() if path.is_symlink() else path
    _check_kind(place, is_folder=False)
    with explain_write_errors(path):
        _make_folder(place.parent)
        descriptor, name = tempfile.mkstemp(prefix=temporary_prefix(place), dir=place.parent)
        temporary = Path(name)
        try:
            os.close(descriptor)
            yield temporary
            temporary.chmod(0o644)
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there yet."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # what is there is no folder, which "File exists" would not say
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None


def append_line(file: Path, line: str) -> None:
    """Append one line to a file. Raises UserError if that fails."""
    with (
        explain_write_errors(file),
        file.open("a", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        stream.write(line + "\n")


@contextmanager
def explain_write_errors(place: Path | str, advice: str = "") -> Iterator[None]:
    """Turn errors of writing (a full disk, no permission) into a UserError that names `place`.

    `advice`, if given, ends the message. Of several such blocks, one in another, the outermost speaks.
    """
    try:
        yield
    except (OSError, SafetensorError, NotWritten) as error:
        cause = error.__cause__ if isinstance(error, NotWritten) and error.__cause__ else error
        reason = " ".join((getattr(cause, "strerror", None) or str(cause)).split())
        raise NotWritten(f"cannot write {place} ({reason}){advice and ': '}{advice}") from cause


def _apply_umask(folder: Path) -> None:
    """Give a folder and all in it the permissions that this process gives to new files.

    `mkdtemp` and safetensors make theirs readable by the owner alone.
    """
    umask = os.umask(0)
    os.umask(umask)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
