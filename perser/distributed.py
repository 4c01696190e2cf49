"""The processes of a launch: how they share work out and put results together, and the device of this one."""

from __future__ import annotations

import atexit
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from itertools import zip_longest
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import Tensor, nn

from perser.errors import UserError

T = TypeVar("T")

LONGEST_REASON = 150
"""Characters of an error of torch's that a message shows."""

LONGEST_WAIT = timedelta(days=30)
"""How long a process may wait for another. Torch's half hour is too short for the longest stages."""


def processes() -> PartialState:
    """Return the processes of this launch, this one among them.

    Raises UserError where fewer processes work together than were asked for.
    """
    # `Accelerator` reads this variable, `PartialState` alone does not.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU")
    if not cpu:
        _check_gpus(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    state = PartialState(cpu=cpu, timeout=LONGEST_WAIT)
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if state.num_processes != launched:
        raise UserError(
            f"{launched} processes were launched, but each would work alone: without a GPU for each, "
            "set ACCELERATE_USE_CPU=true and use torchrun"
        )
    if state.num_processes == 1:
        _check_alone()
    return state


def end_launched_process() -> None:
    """End this process with status 0 where it works with others. One that works alone goes on.

    Exit functions (`atexit`) run and output is flushed, but the interpreter is not taken down. A thread of
    gloo may still hold tensors of the last collective operation, and needs the interpreter to let go of them.
    A thread that asks for the interpreter while Python ends is unwound by force, through code in C++ that
    does not allow it, and that aborts the process (SIGABRT). Destroying the group does not end these threads
    where anything still refers to it, as the caches of sharded tensors do.

    Threads of Python are not waited for, and files that are still open are not flushed.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    torch.distributed.destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def is_alone_on_cpu() -> bool:
    """Return whether this process computes on a CPU and no other one was launched beside it."""
    state = processes()
    return state.num_processes == 1 and state.device.type == "cpu"


def num_cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # only Linux has it
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def own_items(items: Sequence[T]) -> Sequence[T]:
    """Return the items that this process takes of a list that all share out: every n-th of them."""
    state = processes()
    return items[state.process_index :: state.num_processes]


def own_share_of_batch(batch: Sequence[T], cost: Callable[[T], float]) -> tuple[Sequence[T], float]:
    """Return this process's share of a batch, and the factor for its loss.

    The process sums the losses of its share, divides by the size of the whole batch and multiplies by the
    factor. The mean over the processes, which their gradients become, is then the mean loss of the whole
    batch, however unevenly it divides.

    Args:
        batch: what one step learns from, the same in every process.
        cost: of an item, in any unit. All wait for the slowest process, so costs are shared out evenly, and
            no process gets more than one item more than another.

    A process that gets nothing of a small batch takes one item with the factor 0, because every process has
    to take every step.
    """
    state = processes()
    if state.num_processes == 1:
        return batch, 1.0
    own = _deal([cost(item) for item in batch], state.num_processes)[state.process_index]
    if not own:
        return batch[:1], 0.0
    return [batch[place] for place in own], float(state.num_processes)


def _deal(costs: Sequence[float], num_processes: int) -> list[list[int]]:
    """Deal items to processes so that costs are even; returns each process's items by their place, in order.

    In every round each process gets one of the costliest items left, and the costliest goes to the process
    with the lowest total so far.
    """
    dealt: list[list[int]] = [[] for _ in range(num_processes)]
    totals = [0.0] * num_processes
    costliest = sorted(range(len(costs)), key=lambda place: -costs[place])
    for first in range(0, len(costliest), num_processes):
        lowest = sorted(range(num_processes), key=totals.__getitem__)
        for place, process in zip(costliest[first : first + num_processes], lowest, strict=False):
            dealt[process].append(place)
            totals[process] += costs[place]
    return [sorted(places) for places in dealt]


def gather_in_order(own_results: Sequence[T]) -> list[T]:
    """Put together what each process found for its `own_items`, in the order of the whole list.

    The result is the same in every process. All of them have to call it.
    """
    state = processes()
    if state.num_processes == 1:
        return list(own_results)
    results: list[list[T]] = [[] for _ in range(state.num_processes)]
    torch.distributed.all_gather_object(results, list(own_results))
    nothing = object()
    rounds: Iterable[tuple[Any, ...]] = zip_longest(*results, fillvalue=nothing)
    return [result for each in rounds for result in each if result is not nothing]


def sum_over_processes(values: Tensor) -> Tensor:
    """Return the sum of the processes' tensors (of one shape) in every process. All have to call it."""
    state = processes()
    if state.num_processes > 1:
        values = values.clone().to(state.device)
        torch.distributed.all_reduce(values)
    return values


def mean_over_processes(value: Tensor) -> float:
    """Return the mean of the processes' scalars, the same in every process. All have to call it."""
    return sum_over_processes(value).item() / processes().num_processes


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes. All have to call it, each with all parameters.

    It is for small modules that every process holds whole and that no wrapper synchronizes.
    """
    if processes().num_processes == 1:
        return
    trained = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    sums = sum_over_processes(torch.cat([gradient.flatten() for _, gradient in trained]))
    means = sums / processes().num_processes
    for (parameter, _), mean in zip(trained, means.split([one.numel() for one, _ in trained]), strict=True):
        parameter.grad = mean.view_as(parameter).to(parameter.dtype)


def _check_gpus(launched: int) -> None:
    """Raise UserError where processes would have to share a GPU; NCCL would stop with an error of its own."""
    gpus = torch.cuda.device_count()
    if 0 < gpus < launched:
        raise UserError(
            f"{launched} processes were launched here for {gpus} GPUs: give --num_processes {gpus} "
            f"(torchrun: --nproc_per_node {gpus}), or set ACCELERATE_USE_CPU=true"
        )


def _check_alone() -> None:
    """Raise UserError where `accelerate launch` was asked for several processes and started one.

    It does that on a CPU without MPI. The sign is an address where processes should meet (MASTER_ADDR) while
    this one has no rank.
    """
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ and "RANK" not in os.environ
    if by_accelerate and "MASTER_ADDR" in os.environ:
        raise UserError(
            "accelerate launch was asked for several processes and started one: on a CPU use "
            "ACCELERATE_USE_CPU=true torchrun --nproc_per_node N "
            "(if one process was meant, unset MASTER_ADDR)"
        )


def compute_device(name: str | None = None) -> str:
    """Return the device of this name as torch spells it; None: the GPU if there is one, else `cpu`.

    Raises UserError for a device that this machine does not have.
    """
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    known = _devices()
    try:
        there = str(torch.device(name)).removesuffix(":0") in known
    except RuntimeError:  # it is no device's name at all
        there = False
    if not there:
        raise UserError(f"device: '{name}' cannot be used here: give {' or '.join(known)}")
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # such as a GPU without free memory
        reason = re.split(r"\n|\. ", str(error), maxsplit=1)[0][:LONGEST_REASON]
        raise UserError(f"device: '{name}' cannot be used here ({reason}): give another one") from error
    return name


def _devices() -> list[str]:
    """Return the names of this machine's devices."""
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += ["cuda", *(f"cuda:{number}" for number in range(1, torch.cuda.device_count()))]
    devices += [name for name in ("mps", "xpu") if getattr(torch, name).is_available()]
    return devices
