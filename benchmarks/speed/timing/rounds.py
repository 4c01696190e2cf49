"""Measure seconds in rounds, peak memory by contender, and the distance of two results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from perser.device import clock
from perser.errors import UserError

Precision = Literal["float32", "tf32", "bf16"]
"""How numbers are multiplied: float32 in full, float32 in TF32 (on a GPU), or bf16 under autocast."""

Run = Callable[[], object]

Name = TypeVar("Name", bound=str)


def seconds(run: Run, device: torch.device) -> float:
    """Return the seconds of one run. The device's queue is empty before and after."""
    start = clock(device)
    run()
    return clock(device) - start


def time_in_rounds(runs: Mapping[str, Run], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of each run in each round.

    In a round every run is timed once, so that whatever else the machine does slows all of them alike.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(seconds(run, device))
    return taken


def peak_by_contender(
    peak: Callable[..., int | None], contenders: Sequence[Name], arguments: Sequence[Any], device: str
) -> dict[Name, int]:
    """Return `peak(name, *arguments)`, in bytes, of each contender.

    On a CPU each contender runs in a process of its own, so that no other has made its memory larger. Raises
    UserError if `peak` gives None: this system does not say how much memory a process takes.
    """
    if device == "cuda":
        peaks = {name: peak(name, *arguments) for name in contenders}
    else:
        spawn = get_context("spawn")
        with ExitStack() as stack:
            futures = {}
            for name in contenders:
                process = stack.enter_context(ProcessPoolExecutor(1, spawn))
                futures[name] = process.submit(peak, name, *arguments)
            peaks = {name: future.result() for name, future in futures.items()}
    known = {name: size for name, size in peaks.items() if size is not None}
    if len(known) < len(peaks):
        raise UserError("peak memory on a CPU is read from /proc/self, which this system lacks")
    return known


def distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """Return |ours - theirs| / |theirs|, with all tensors taken as one vector."""
    apart = [(a - b).double().square().sum() for a, b in zip(ours, theirs, strict=True)]
    lengths = [b.double().square().sum() for b in theirs]
    return (torch.stack(apart).sum() / torch.stack(lengths).sum()).sqrt().item()
