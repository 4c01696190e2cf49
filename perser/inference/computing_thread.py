"""One thread computes for all: Python threads that each compute with torch get in each other's way.

Small models take many short steps, and each step waits for Python's lock. A new thread also starts with cold
memory and with threads of OpenMP of its own. Eight threads that each enroll a person took twice as long as
one after the other (`benchmarks.speed.threads`). Torch itself spreads the long steps over the cores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


class ComputingThread:
    """Runs one job at a time: those of the main thread there, those of all others in a thread of its own."""

    def __init__(self) -> None:
        self.reset()
        if hasattr(os, "register_at_fork"):  # a forked process has the main thread alone
            os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        """Begin anew, without a thread."""
        self._turn = threading.RLock()
        self._here = threading.local()
        self._pool = ThreadPoolExecutor(
            1, "perser-computing", initializer=setattr, initargs=(self._here, "yes", True)
        )

    def run(self, job: Callable[[], T]) -> T:
        """Return what a job returns, or raise what it raises. A job may run others."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main or hasattr(self._here, "yes"):
            return self._in_turn(job)
        try:
            answer = self._pool.submit(copy_context().run, self._in_turn, job)
        except RuntimeError:  # no thread can be started, as when the main thread has ended before this one
            answer = None
        return self._in_turn(job) if answer is None else answer.result()

    def _in_turn(self, job: Callable[[], T]) -> T:
        with self._turn:
            return job()


_thread = ComputingThread()


def compute(job: Callable[[], T]) -> T:
    """Run a job that encodes clips, enrolls them or answers about them, when no other one runs.

    Returns what it returns and raises what it raises. Modes of torch that hold for one thread alone, such as
    `torch.autocast`, reach it from the main thread only.
    """
    return _thread.run(job)
