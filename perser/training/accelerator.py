"""Set up a training: its accelerator, the wrapped module, and the schedule of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, patch_environment, set_seed
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from perser.device import set_tf32
from perser.distributed import processes
from perser.training.sharding import USE_FSDP, ShardedModule, check_launch, is_sharded


def start_accelerator(seed: int, mixed_precision: str = "no") -> Accelerator:
    """Return the accelerator of this process, with every random generator seeded (differently in each
    process).

    One process may run several trainings one after the other, each with its own precision. On a GPU, float32
    is multiplied in TF32 (`perser.device.set_tf32`).

    Raises UserError as `processes` and `check_launch` do.
    """
    check_launch()
    state = processes()
    AcceleratorState._reset_state()
    ddp = DistributedDataParallelKwargs(
        # No buffer changes in training. If buffers were sent at each forward pass, every process would also
        # have to run equally many forward passes.
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
        # Without it, three or more processes add gradients in another order from their second step after a
        # start on, and a resumed training would differ in the last bit. On CPUs we promise that it does not.
        find_unused_parameters=state.device.type == "cpu" and state.num_processes > 2,
    )
    # `wrap_for_training` shards the weights. Accelerate's own sharding would leave them sharded where they
    # are read in full (validation, the inner loop), and does nothing on a CPU.
    with patch_environment(**{USE_FSDP: "false"}):
        accelerator = Accelerator(mixed_precision=mixed_precision, kwargs_handlers=[ddp])
    set_tf32(accelerator.device, allowed=True)
    set_seed(seed, device_specific=True)
    return accelerator


def wrap_for_training(
    module: nn.Module, accelerator: Accelerator, layers: Sequence[nn.Module] = ()
) -> nn.Module:
    """Return the module as all processes train it together.

    Each process has the whole module (DistributedDataParallel), or a shard of its weights if the launch asks
    for it (`perser.training.sharding`). Make the optimizer afterwards: sharding replaces the parameters.

    Args:
        module: its forward pass is what is trained.
        accelerator: of the training.
        layers: parts of the module that are worth gathering one at a time.
    """
    return ShardedModule(module, accelerator, layers) if is_sharded() else accelerator.prepare(module)


def cosine_schedule(optimizer: Optimizer, steps: int, warmup: float = 0.1) -> LambdaLR:
    """Return a schedule with a linear warm-up over this share of the steps, then a cosine down to zero.

    It is that of `transformers.get_cosine_schedule_with_warmup`. Importing that one imports peft and
    bitsandbytes, which takes a fifth of the time in which a training starts.
    """
    return LambdaLR(optimizer, partial(_cosine_factor, warmup_steps=int(steps * warmup), steps=steps))


def _cosine_factor(step: int, *, warmup_steps: int, steps: int) -> float:
    """Return by what the learning rate is multiplied at a step."""
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return max(0.0, (1 + math.cos(math.pi * progress)) / 2)
