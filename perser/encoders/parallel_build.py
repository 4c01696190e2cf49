"""A folder that several processes make together, in parts: whoever is there takes the next part, by a lock on
a file, so that it need not be agreed on who comes and when, and a process that dies is made up for."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from perser.distributed import processes


def build_in_parallel(
    folder: Path, write: Callable[[int, int, Path], None], join: Callable[[Sequence[Path], Path], None]
) -> None:
    """Make `folder`, which is not there: as many parts as this launch has processes, joined by one of them.
    Ends when the folder is there, which appears in one rename. A run that is killed leaves the parts that it
    finished, for the next one of as many processes.

    Args:
        folder: where it is to be; what is not finished lies beside it.
        write: gets a part's number, how many there are, and an empty folder to write it into.
        join: gets the parts' folders and an empty folder for the whole; not called for a single part.
    """
    state = processes()
    count, own = state.num_processes, state.process_index
    work = folder.with_name(f".parts-{count}-{folder.name}")
    parts = [work / str(number) for number in range(count)]
    try:
        for wait in (False, True):  # then for those who are still at one, or have died over it
            for number in [*range(own, count), *range(own)]:
                with _locked(work / f"{number}.lock", wait) as got:
                    # In this order: a part that is no longer there is in the folder that is.
                    if got and not parts[number].is_dir() and not folder.is_dir():
                        _make(parts[number], lambda new, number=number: write(number, count, new))
        with _locked(work / "whole.lock", wait=True):
            if not folder.is_dir():
                whole = parts[0]
                if count > 1:
                    whole = work / "whole"
                    _make(whole, lambda new: join(parts, new))
                _rename(whole, folder)
    finally:
        if count == 1 or folder.is_dir():
            shutil.rmtree(work, ignore_errors=True)


def _make(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder so that it is whole or not there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    new.chmod(0o755)  # mkdtemp makes it private; a cache is not
    write(new)
    _rename(new, folder)


def _rename(new: Path, folder: Path) -> None:
    """Give a folder its name, unless another process has put the same there meanwhile."""
    try:
        new.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _opened(path: Path) -> TextIO:
    """A file to be written, its folder made, again where another process has removed it meanwhile."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return path.open("w")
        except FileNotFoundError:
            continue


@contextmanager
def _locked(path: Path, wait: bool) -> Iterator[bool]:
    """Whether the lock was to be had: always, where `wait` allows to wait for it. It ends with the process
    that has it, however that one ends. A file system that knows no locks gives it to all."""
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass
        yield True
