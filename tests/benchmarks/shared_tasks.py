"""Tasks for `tests/benchmarks/test_task_sharing.py`, in a module that another process can import."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch

from benchmarks.task_sharing import run_with_workers
from perser.errors import UserError


def note(folder: Path, number: int) -> None:
    """Write which process ran the task, with how many threads; take long enough for a worker to get one."""
    with (folder / str(number)).open("a") as file:
        file.write(f"{os.getpid()} {torch.get_num_threads()}\n")
    deadline = time.monotonic() + 60
    while number == 0 and not (folder / "1").exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def fail_in_worker(folder: Path, parent: int, number: int) -> None:
    """End the worker in the way that its task's number says; run elsewhere."""
    note(folder, number)
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def refuse(folder: Path, number: int) -> None:
    note(folder, number)
    if number == 1:
        raise UserError("the second one is wrong")


def wait_forever(folder: Path, number: int) -> None:
    (folder / f"pid-{number}").write_text(str(os.getpid()))
    time.sleep(600)


def start_two(folder: Path) -> None:
    from functools import partial

    run_with_workers(partial(wait_forever, folder), ["first", "second"], workers=1)


if __name__ == "__main__":
    start_two(Path(sys.argv[1]))
