"""Build a folder with several processes, in shards, without agreement on which process builds which shard.

Each process takes the next shard whose lock file is free. If a process dies, its lock is freed and another
process builds its shard.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from perser.distributed import processes


def build_in_parallel(
    folder: Path, write: Callable[[int, int, Path], None], join: Callable[[Sequence[Path], Path], None]
) -> None:
    """Build `folder`, which does not exist, in as many shards as this launch has processes.

    Every process of the launch calls this function. It returns when the folder is there, which appears by one
    rename. A run that is killed leaves its finished shards for the next run with as many processes.

    Args:
        folder: The folder to build. Unfinished shards are beside it.
        write: Writes one shard. It gets the shard's number, the number of shards, and an empty folder.
        join: Writes the complete folder. It gets the shards' folders and an empty folder. A single shard is
            not joined.
    """
    state = processes()
    count, own = state.num_processes, state.process_index
    work = folder.with_name(f".parts-{count}-{folder.name}")
    shards = [work / str(number) for number in range(count)]
    try:
        # First build what is free. Then wait for the shards that other processes hold, in case one of them
        # died.
        for wait in (False, True):
            for number in [*range(own, count), *range(own)]:
                with _lock(work / f"{number}.lock", wait) as locked:
                    # In this order: a shard that has disappeared is in the folder by now.
                    if locked and not shards[number].is_dir() and not folder.is_dir():
                        _make(shards[number], partial(write, number, count))
        with _lock(work / "whole.lock", wait=True):
            if not folder.is_dir():
                complete = shards[0]
                if count > 1:
                    complete = work / "whole"
                    _make(complete, lambda new: join(shards, new))
                _rename(complete, folder)
    finally:
        if count == 1 or folder.is_dir():
            shutil.rmtree(work, ignore_errors=True)


def _make(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder under a temporary name and rename it when it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    new.chmod(0o755)  # mkdtemp makes it readable by the owner alone
    write(new)
    _rename(new, folder)


def _rename(new: Path, folder: Path) -> None:
    """Rename a folder, unless another process has put the same content there meanwhile."""
    try:
        new.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


@contextmanager
def _lock(path: Path, wait: bool) -> Iterator[bool]:
    """Hold a lock file and yield True, or yield False if another process holds it and `wait` is False.

    The system frees the lock when its process ends, in whatever way. On a file system without locks every
    process gets the lock: then shards are built more than once, and renaming settles which one counts.
    """
    # A lock that is a mere file would outlive a process that dies: no fallback to such locks.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        _acquire(lock, path, wait)
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError):
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


def _acquire(lock: FileLock, path: Path, wait: bool) -> None:
    """Acquire the lock. Make its folder again if another process, which has finished, removes it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=wait)
        except FileNotFoundError:
            continue
        return
