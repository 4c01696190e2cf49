"""Seconds by turns, the machine's rate of operations, and how far two results are apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from statistics import median
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from perser.errors import UserError
from perser.peak_memory import CLEAR_REFS, STATUS, Run, peak_is_measurable

Who = TypeVar("Who", bound=str)


def by_contender(
    peak: Callable[..., int], contenders: Sequence[Who], arguments: Sequence[Any], device: str
) -> dict[Who, int]:
    """`peak(who, *arguments)` in bytes, of each contender.

    On a CPU each runs in a process of its own that nothing else has made larger. Raises UserError where there
    is no /proc.
    """
    if device == "cuda":
        return {who: peak(who, *arguments) for who in contenders}
    if not peak_is_measurable(torch.device(device)):
        raise UserError(
            f"peak memory on a CPU is read from {STATUS} and {CLEAR_REFS}, which this system lacks"
        )
    spawn = get_context("spawn")
    with ExitStack() as alive:
        coming = {}
        for who in contenders:
            process = alive.enter_context(ProcessPoolExecutor(1, spawn))
            coming[who] = process.submit(peak, who, *arguments)
        return {who: one.result() for who, one in coming.items()}


Precision = Literal["float32", "bf16"]

_SIZE = {"cpu": 2048, "cuda": 8192}

_TRIES = 5


def seconds(run: Run, device: torch.device) -> float:
    """Of one run, the device's queue emptied before and after."""
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - start


def by_turns(runs: Mapping[str, Run], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each run in each round; within a round everyone has one turn, so that what else the machine
    does meets all alike."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(seconds(run, device))
    return taken


def matrix_rate(device: torch.device, precision: Precision) -> float:
    """Floating-point operations a second of one large matrix product: the median of some."""
    size = _SIZE[device.type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    left @ right
    return 2 * size**3 / median(seconds(lambda: left @ right, device) for _ in range(_TRIES))


def distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """|ours - theirs| / |theirs|, all tensors as one vector."""
    apart = sum((a - b).double().square().sum() for a, b in zip(ours, theirs, strict=True))
    return (apart / sum(b.double().square().sum() for b in theirs)).sqrt().item()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
