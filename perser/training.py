"""What the training loops of both routes share: set-up, schedule, progress, keeping the best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, patch_environment, set_seed
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from perser.processes import processes
from perser.sharding import ASKED_FOR, Shards, check_launch, in_shares, whole


def start(seed: int, mixed_precision: str = "no") -> Accelerator:
    """The accelerator of this process, every random generator seeded (differently per process).

    One process may run several trainings in turn, each with its own precision. Raises UserError as
    `processes` and `check_launch` do.
    """
    check_launch()
    launched = processes()
    AcceleratorState._reset_state()
    # No buffer changes in training; sent round at each forward, they would also have to be so equally often.
    together = DistributedDataParallelKwargs(
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
        # Or the order in which three and more add up would be another from the second step after a start on,
        # and they would not go on from a checkpoint bit for bit, as is promised of CPUs.
        find_unused_parameters=launched.device.type == "cpu" and launched.num_processes > 2,
    )
    # Sharing out is ours to do, in `on_all`: accelerate's leaves weights in shares where they are read whole
    # (validation, the inner loop), and does nothing on a CPU.
    with patch_environment(**{ASKED_FOR: "false"}):
        accelerator = Accelerator(mixed_precision=mixed_precision, kwargs_handlers=[together])
    set_seed(seed, device_specific=True)
    return accelerator


def on_all(module: nn.Module, accelerator: Accelerator, layers: Sequence[nn.Module] = ()) -> nn.Module:
    """The module as one that all processes train: each has it whole (DistributedDataParallel), or in shares
    if the launch says so (`perser.sharding`). Its optimiser is made afterwards: parameters may be others.

    Args:
        module: its forward is what is trained.
        accelerator: of the training.
        layers: parts of it that are worth gathering one at a time.
    """
    return Shards(module, accelerator, layers) if in_shares() else accelerator.prepare(module)


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


def cosine(optimizer: torch.optim.Optimizer, steps: int, warmup_share: float = 0.1) -> LambdaLR:
    """Linear warm-up, then a cosine to zero over `steps`."""
    return get_cosine_schedule_with_warmup(optimizer, int(steps * warmup_share), steps)


class Best:
    """The weights with the highest validation score so far."""

    def __init__(self) -> None:
        self.score = float("-inf")
        self.step = 0
        self.weights: dict[str, Tensor] = {}
        """Copies, by name; none before the first offer."""

    def offer(self, score: float, step: int, module: nn.Module) -> bool:
        """Keep a copy of the module's trained weights if the score is the highest; says whether it is. One
        that is no number never is."""
        if not score > self.score:
            return False
        self.score, self.step = score, step
        self.weights = {
            name: whole(one.detach()).clone() for name, one in module.named_parameters() if one.requires_grad
        }
        return True

    def take(self, weights: dict[str, Tensor], score: float, step: int) -> None:
        """What another one kept is this one's."""
        self.weights, self.score, self.step = weights, score, step

    @torch.no_grad()
    def restore(self, module: nn.Module) -> None:
        """Put the kept weights back."""
        own = dict(module.named_parameters())
        for name, kept in self.weights.items():
            own[name].copy_(kept)


def shuffled_batches(count: int, size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """One epoch of index batches in random order; the last may be smaller."""
    for chunk in torch.randperm(count, generator=generator).split(size):
        yield chunk.tolist()
