"""Measure how much memory a function adds at its peak."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

Result = TypeVar("Result")

Run = Callable[[], object]

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Where Linux tells a process its memory use, and where the process resets its high-water mark."""

_RESET_HIGH_WATER_MARK = "5"


def peak_is_measurable(device: torch.device) -> bool:
    """Return whether `peak_bytes` works on this device: on any GPU, and on a CPU under Linux."""
    if device.type == "cpu":
        return STATUS.exists() and os.access(CLEAR_REFS, os.W_OK)
    return device.type == "cuda"


def peak_bytes(run: Run, device: torch.device) -> int:
    """Return how many bytes `run` adds at its peak to what is in memory before it.

    On a GPU this is what torch allocates, on a CPU resident memory. The CPU's high-water mark is read from
    /proc, because that of getrusage is inherited from the parent process and cannot be reset.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    _release_free_memory()
    CLEAR_REFS.write_text(_RESET_HIGH_WATER_MARK, "utf-8")
    before = _status_bytes("VmRSS")
    run()
    return _status_bytes("VmHWM") - before


def run_with_peak(run: Callable[[], Result], device: torch.device) -> tuple[Result, int | None]:
    """Return the result of `run` and its `peak_bytes`, or None for the latter where it cannot be measured."""
    if not peak_is_measurable(device):
        return run(), None
    results: list[Result] = []
    peak = peak_bytes(lambda: results.append(run()), device)
    return results[0], max(peak, 0)


@contextmanager
def existing_objects_frozen() -> Iterator[None]:
    """Keep the garbage collector from looking at the objects that exist now.

    With a corpus of many annotations in memory, a collection takes longer than what is measured.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _release_free_memory() -> None:
    """Return freed memory to the system. Otherwise a run would take it again and seem to add less."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    if trim is not None:
        trim(0)


def _status_bytes(name: str) -> int:
    """Return one entry of this process's status, in bytes."""
    (line,) = [line for line in STATUS.read_text("utf-8").splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024
