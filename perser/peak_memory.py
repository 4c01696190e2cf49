"""Peak memory of a run, by contender."""

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

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

_HIGH_WATER_MARK = "5"  # what the kernel is told to set back


def added(run: Run, device: torch.device) -> int:
    """Bytes that a run adds at most to what is there: on a GPU what torch allocates, on a CPU resident memory
    (its high-water mark is read from /proc: getrusage's would be that of the process which started this one,
    and could not be set back to what is there now)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    _give_back_what_is_free()
    _CLEAR.write_text(_HIGH_WATER_MARK)
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def added_if_known(run: Callable[[], Result], device: torch.device) -> tuple[Result, int | None]:
    """What a run gives, and `added` of it; None of it where the system does not tell."""
    kept: list[Result] = []
    if device.type == "cuda" or (device.type == "cpu" and _is_known()):
        peak = added(lambda: kept.append(run()), device)
        return kept[0], max(peak, 0)
    return run(), None


@contextmanager
def keeping_what_is_there() -> Iterator[None]:
    """Inside, no garbage collection looks through the objects that are there now: beside a corpus of many
    annotations that takes longer than what is measured."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _is_known() -> bool:
    return _STATUS.exists() and os.access(_CLEAR, os.W_OK)


def _give_back_what_is_free() -> None:
    """Memory that loading has freed is still resident: a run would take it again, and seem to add less."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)


def _status(name: str) -> int:
    """Bytes of one entry of this process's status."""
    (line,) = [one for one in _STATUS.read_text().splitlines() if one.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


Run = Callable[[], object]
