"""One thread computes for all: Python threads that each compute with torch get in each other's way.

Small models take many short steps, and each step waits for Python's lock. A new thread also starts with cold
memory and with threads of OpenMP of its own. Eight threads that each enroll a person took twice as long as
one after the other (`benchmarks.speed.threads`). Torch itself spreads the long steps over the cores. The
short steps of a small model stay on one core: OpenMP's threads would wait for each other longer than they
compute, above all where other programs take their cores. OpenMP gives each thread that computes helpers of
its own and keeps them. Helpers of two threads are more than there are cores, and then each step waits longer.
So a job on several cores ends its helpers when it is done.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from typing import TypeVar

T = TypeVar("T")

SMALL_MODEL = 5_000_000
"""Weights up to which a model computes on one core: an encoder that is 256 wide and 6 layers deep. Models of
the quickstart (0.2 million) take as long on one core as on two, those of Whisper base (20 million) longer."""


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

    def run(self, job: Callable[[], T], cores: int | None = None) -> T:
        """Return what a job returns, or raise what it raises. A job may run others.

        `cores`: how many torch uses meanwhile; None: as many as it does anyway.
        """
        is_main = threading.current_thread() is threading.main_thread()
        if is_main or hasattr(self._here, "yes"):
            return self._in_turn(job, cores)
        try:
            answer = self._pool.submit(copy_context().run, self._in_turn, job, cores)
        except RuntimeError:  # no thread can be started, as when the main thread has ended before this one
            answer = None
        return self._in_turn(job, cores) if answer is None else answer.result()

    def _in_turn(self, job: Callable[[], T], cores: int | None) -> T:
        with self._turn, _on_cores(cores):
            return job()


@contextmanager
def _on_cores(number: int | None) -> Iterator[None]:
    """Let torch use so many cores in this thread, and then as many as before. None: as many as it does."""
    if number is None:
        try:
            yield
        finally:
            end_openmp_helpers()
        return
    import torch

    before = torch.get_num_threads()
    if number >= before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def end_openmp_helpers() -> None:
    """End the threads that OpenMP keeps for this one, where it can. The next parallel step starts them again.

    That takes some 50 microseconds.
    """
    if "torch" in sys.modules:  # it is not needed for a table of probabilities, for example
        for pause in _pauses():
            pause(HARD_PAUSE)


HARD_PAUSE = 2
"""`omp_pause_hard` of the OpenMP API 5.0, section 3.7: give back whatever can be made again."""


@cache
def _pauses() -> tuple[Callable[[int], int], ...]:
    """Return GNU OpenMP's function that ends the calling thread's helpers, of each copy that is loaded.

    Other OpenMP libraries would end the helpers of all threads, so they are left alone.
    """
    from threadpoolctl import threadpool_info

    loaded = [ctypes.CDLL(each["filepath"]) for each in threadpool_info() if each["prefix"] == "libgomp"]
    return tuple(
        library.omp_pause_resource_all for library in loaded if hasattr(library, "omp_pause_resource_all")
    )


def cores_for(weights: int) -> int | None:
    """Return how many cores a model of so many weights should use; None: all that torch has."""
    return 1 if weights <= SMALL_MODEL else None


_thread = ComputingThread()


def compute(job: Callable[[], T], cores: int | None = None) -> T:
    """Run a job that encodes clips, enrolls them or answers about them, when no other one runs.

    `cores`: what `cores_for` says of the model; None: all that torch has. Returns what the job returns and
    raises what it raises. Modes of torch that hold for one thread alone, such as `torch.autocast`, reach it
    from the main thread only.
    """
    return _thread.run(job, cores)
