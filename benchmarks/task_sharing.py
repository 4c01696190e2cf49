"""Share independent tasks with workers: further processes on the same CPU, with as many threads as this one.

Many of our computations are too small for two threads to be much faster than one. Two processes are twice as
fast, and one of them does not wait for the other where other programs keep a core busy.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import TYPE_CHECKING

from perser.adjustments.blas_threads import limit_blas_threads
from perser.distributed import is_alone_on_cpu, num_cores
from perser.errors import UserError

if TYPE_CHECKING:
    from ctypes import Array, c_byte
    from multiprocessing.sharedctypes import Synchronized

    Counter = Synchronized[int]
    """The number of the next task that nobody has taken."""
    Marks = Array[c_byte]
    """For each task, whether it is done."""

Task = Callable[[int], None]
"""Does the task of a number, from 0. What it makes is in files, and is the same whoever makes it."""


def run_with_workers(task: Task, titles: Sequence[str], workers: int) -> None:
    """Run `task(0)` to `task(len(titles) - 1)`, here and in at most so many workers.

    Whoever is free takes the next one. A worker that fails leaves its task to this process, which then meets
    the same error. If this process ends, its workers get SIGTERM, at which a training writes a checkpoint.
    The workers show nothing.

    Args:
        task: does one task; no task needs another one's result.
        titles: of the tasks, for the message that names those that this process waits for.
        workers: how many. None are started on a GPU, or beside other processes of a launch.
    """
    count = min(workers, len(titles) - 1) if is_alone_on_cpu() else 0
    if count <= 0:
        for number in range(len(titles)):
            task(number)
        return
    context = multiprocessing.get_context("spawn")
    taken, done = context.Value("i", 0), context.RawArray("b", len(titles))
    started = [_start(context, task, taken, done) for _ in range(count)]
    try:
        _take_tasks(task, taken, done)
        _wait_for(started, titles, done)
    finally:
        for worker in started:
            worker.terminate()
            worker.join()
    for number, is_done in enumerate(done):
        if not is_done:
            task(number)


def useful_workers(wanted: int, threads: int | None) -> int:
    """Return how many workers of these that are wanted have cores of their own for their threads.

    `threads`: of each process; None: one for each core, which leaves none for workers. Raises UserError for a
    negative number.
    """
    if wanted < 0:
        raise UserError(f"workers: {wanted}, give 0 or more")
    if threads is None:
        return 0
    return min(wanted, max(0, num_cores() // max(threads, 1) - 1))


def _start(context: SpawnContext, task: Task, taken: Counter, done: Marks) -> SpawnProcess:
    """Start a worker. One that cannot be sent the task, because it cannot import it, ends at once."""
    import torch

    receiver, sender = context.Pipe(duplex=False)
    arguments = (receiver, taken, done, torch.get_num_threads())
    worker = context.Process(target=_work, args=arguments, daemon=True)
    worker.start()
    with sender, suppress(Exception):  # whatever it is, the task is done here then
        sender.send(task)
    receiver.close()
    return worker


def _take_tasks(task: Task, taken: Counter, done: Marks) -> None:
    """Run the next task that nobody has taken, until there is none."""
    while True:
        with taken.get_lock():
            number = taken.value
            taken.value += 1
        if number >= len(done):
            return
        task(number)
        done[number] = True


def _wait_for(workers: Sequence[SpawnProcess], titles: Sequence[str], done: Marks) -> None:
    """Wait until the tasks that workers have taken are done, or the workers have ended."""
    missing = [title for title, is_done in zip(titles, done, strict=True) if not is_done]
    if missing:
        print(f"{', '.join(missing)}: still running in another process", file=sys.stderr)
    while not all(done) and any(worker.is_alive() for worker in workers):
        wait([worker.sentinel for worker in workers], timeout=0.1)


def _work(receiver: Connection, taken: Counter, done: Marks, threads: int) -> None:
    """Work: take tasks until there are none, and end with the process that started this one."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stdout.fileno())
    os.dup2(silence, sys.stderr.fileno())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    task = receiver.recv()
    import torch

    torch.set_num_threads(threads)
    limit_blas_threads(threads)
    _take_tasks(task, taken, done)


def _end_with_parent() -> None:
    """Wait until the process that started this one has ended, in whatever way, and end this one too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
