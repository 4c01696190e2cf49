"""What a GPU needs and a CPU does not: waiting for it, copying to it, its number format, its free memory.

Each function does the plain thing on any other device, so that results on a CPU do not depend on it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")

_loading_device: ContextVar[str] = ContextVar("loading_device", default="cpu")

MAKING_A_MODEL = threading.RLock()
"""Held by the thread that makes or loads a model: it draws random numbers, and transformers switches torch's
default type and how weights start. All threads share these."""


def outside_compilation(function: Callable[P, T]) -> Callable[P, T]:
    """Keep a function out of what torch.compile compiles: one that checks waveforms one by one, and may wait
    for other threads."""

    @wraps(function)
    def run(*arguments: P.args, **options: P.kwargs) -> T:
        if torch.compiler.is_dynamo_compiling():
            return torch.compiler.disable(function)(*arguments, **options)
        return function(*arguments, **options)

    return run


def is_gpu(device: torch.device) -> bool:
    """Return whether a device is one of CUDA's."""
    return device.type == "cuda"


def clock(device: torch.device) -> float:
    """Return a time in seconds, read after the device has done all work that was queued on it.

    A GPU runs behind the program. Without waiting for it, its work would be counted with whatever waits next.
    """
    if is_gpu(device):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device.

    A copy to a GPU goes through pinned memory and is queued there. A plain copy would wait until the GPU has
    done everything that was queued before. Pinned memory is not used again before the copy is done.
    """
    if is_gpu(device) and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def set_tf32(device: torch.device, allowed: bool) -> None:
    """Choose how a GPU multiplies float32 numbers, in matrix products and convolutions: in TF32, or in full.

    TF32 has 10 bits of fraction instead of 23, and is several times as fast. Nothing changes on a CPU. All
    choose it here: trainings and measurements allow TF32, and the commands that answer about clips do not.
    The environment variable NVIDIA_TF32_OVERRIDE=0 forbids it everywhere.
    """
    if is_gpu(device):
        torch.backends.cuda.matmul.allow_tf32 = allowed
        torch.backends.cudnn.allow_tf32 = allowed


def uses_tf32(device: torch.device) -> bool:
    """Return whether matrix products of float32 numbers may be in TF32 on this device."""
    return is_gpu(device) and torch.backends.cuda.matmul.allow_tf32


def free_bytes(device: torch.device) -> int:
    """Return how much of a GPU's memory this process can still take.

    That is what no process has, and what torch holds for this one but does not use.
    """
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


@contextmanager
def loading_on(device: torch.device | str) -> Iterator[None]:
    """Say on which device a model that is loaded within the block will be used.

    Most models are loaded on the CPU and moved. Quantized weights are loaded where they are used.
    """
    token = _loading_device.set(str(device))
    try:
        yield
    finally:
        _loading_device.reset(token)


def loading_device() -> torch.device:
    """Return the device of the innermost `loading_on`, or else the CPU."""
    return torch.device(_loading_device.get())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's random numbers on the CPU from a seed, within the block. Those after it do not change.

    The GPUs' generators are left alone, which torch.manual_seed would seed too. One thread at a time is in
    such a block (`MAKING_A_MODEL`).
    """
    with MAKING_A_MODEL, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
