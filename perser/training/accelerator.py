"""TODO(reorg): docstring."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, patch_environment, set_seed
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_cosine_schedule_with_warmup

from perser.distributed import processes
from perser.training.sharding import ASKED_FOR, ShardedModule, check_launch, is_sharded


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


def wrap_for_training(
    module: nn.Module, accelerator: Accelerator, layers: Sequence[nn.Module] = ()
) -> nn.Module:
    """The module as one that all processes train: each has it whole (DistributedDataParallel), or in shares
    if the launch says so (`perser.sharding`). Its optimizer is made afterwards: parameters may be others.

    Args:
        module: its forward is what is trained.
        accelerator: of the training.
        layers: parts of it that are worth gathering one at a time.
    """
    return ShardedModule(module, accelerator, layers) if is_sharded() else accelerator.prepare(module)


def cosine(optimizer: torch.optim.Optimizer, steps: int, warmup_share: float = 0.1) -> LambdaLR:
    """Linear warm-up, then a cosine to zero over `steps`."""
    return get_cosine_schedule_with_warmup(optimizer, int(steps * warmup_share), steps)
