"""The processes of a launch: this one among them, what each takes of a list, and what all found together.

Where a model computes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import zip_longest
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import Tensor
from tqdm import tqdm

from perser.errors import UserError

T = TypeVar("T")


def processes() -> PartialState:
    """The processes of this launch, this one among them. One may wait for another for as long as the longest
    stage takes, which torch's usual half hour is too short for.

    Raises UserError where not as many work together as were asked for.
    """
    # The variable that `Accelerator` reads; this state alone does not.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU")
    if not cpu:
        _check_gpus(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    state = PartialState(cpu=cpu, timeout=timedelta(days=30))
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if state.num_processes != launched:
        raise UserError(
            f"{launched} processes were launched, but each would work alone: without a GPU for each, "
            "set ACCELERATE_USE_CPU=true and use torchrun"
        )
    if state.num_processes == 1:
        _check_alone()
    return state


def own_items(items: Sequence[T]) -> Sequence[T]:
    """What this process takes of what all have to do together: every n-th of them."""
    state = processes()
    return items[state.process_index :: state.num_processes]


def own_share_of_batch(batch: Sequence[T], cost: Callable[[T], float]) -> tuple[Sequence[T], float]:
    """This process's part of a batch, and what to multiply by its part of the batch's mean loss (the sum over
    the part, over the size of the whole batch): the mean over the processes, which is what becomes of their
    gradients, is then the whole batch's, however unevenly it divides.

    `cost` is what an item takes, in any unit: all wait for the slowest, so nobody gets much more than others,
    nor more than one item more. A process that a small batch leaves without any takes one, and the factor 0:
    every process has to take every step.
    """
    state = processes()
    if state.num_processes == 1:
        return batch, 1.0
    own = _dealt([cost(one) for one in batch], state.num_processes)[state.process_index]
    if not own:
        return batch[:1], 0.0
    return [batch[place] for place in own], float(state.num_processes)


def _dealt(costs: Sequence[float], hands: int) -> list[list[int]]:
    """The places of items by hand, in their order: in rounds that give each hand one item, the dearest that
    are left, the dearest of them to whom has least."""
    dealt: list[list[int]] = [[] for _ in range(hands)]
    sums = [0.0] * hands
    dearest = sorted(range(len(costs)), key=lambda place: -costs[place])
    for first in range(0, len(dearest), hands):
        poorest = sorted(range(hands), key=sums.__getitem__)
        for place, hand in zip(dearest[first : first + hands], poorest, strict=False):
            dealt[hand].append(place)
            sums[hand] += costs[place]
    return [sorted(places) for places in dealt]


def gather_in_order(found: Sequence[T]) -> list[T]:
    """What each process found for its `own_items`, of all of them, in the order of the whole list; the same in
    every process. All have to call it."""
    state = processes()
    if state.num_processes == 1:
        return list(found)
    parts: list[list[T]] = [[] for _ in range(state.num_processes)]
    torch.distributed.all_gather_object(parts, list(found))
    nothing = object()
    rows = zip_longest(*parts, fillvalue=nothing)
    return [one for row in rows for one in row if one is not nothing]


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of the processes' tensors, all of one shape, the same in every process. All have to call it."""
    state = processes()
    if state.num_processes > 1:
        values = values.clone().to(state.device)
        torch.distributed.all_reduce(values)
    return values


def mean_over_processes(value: Tensor) -> float:
    """The mean of the processes' scalars, the same in every process. All have to call it."""
    return sum_over_processes(value).item() / processes().num_processes


def _check_gpus(launched: int) -> None:
    """Raises UserError where processes would have to share a GPU: NCCL would stop with an error of its
    own."""
    found = torch.cuda.device_count()
    if 0 < found < launched:
        raise UserError(
            f"{launched} processes were launched here for {found} GPUs: give --num_processes {found} "
            f"(torchrun: --nproc_per_node {found}), or set ACCELERATE_USE_CPU=true"
        )


def _check_alone() -> None:
    """Raises UserError under an `accelerate launch` that was asked for several processes and started one: it
    does so on a CPU without MPI, and leaves an address to meet at and nobody to meet."""
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "RANK" not in os.environ
    if launched and "MASTER_ADDR" in os.environ:
        raise UserError(
            "accelerate launch was asked for several processes and started one: on a CPU use "
            "ACCELERATE_USE_CPU=true torchrun --nproc_per_node N (or unset MASTER_ADDR, where one was meant)"
        )


def compute_device(name: str | None = None) -> str:
    """The device of that name as torch spells it; when None the GPU if there is one, else `cpu`. Raises
    UserError for one that is not here."""
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"device: '{name}' cannot be used here ({reason}): give cpu or cuda") from error
    return name


def progress(total: int, description: str, done: int = 0, unit: str = "it", each: int = 1) -> tqdm:
    """A progress bar with time left and units a second, on the main process alone.

    Args:
        total: steps.
        description: what stands before it.
        done: how many steps an earlier start has taken.
        unit: what is counted.
        each: how many of those a step has.
    """
    return tqdm(
        total=total,
        desc=description,
        initial=done,
        unit=unit,
        unit_scale=each if each > 1 else False,
        dynamic_ncols=True,
        disable=not processes().is_local_main_process,
    )
