"""Shard weights, gradients and the optimizer's state over processes, by torch's FSDP2.

A launch asks for it with `configs/accelerate/fsdp.yaml` or `fsdp_zero2.yaml` (ZeRO stages 3 and 2,
Rajbhandari et al. 2020, arXiv 1910.02054). A sharded weight is a DTensor. What reads or writes weights
outside of the forward and backward passes gathers them first (`full_tensor`); all processes have to do that
together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from perser.distributed import processes
from perser.errors import UserError

USE_FSDP = "ACCELERATE_USE_FSDP"
"""The variable that `accelerate launch` sets for both files."""
FILES = "configs/accelerate/fsdp.yaml or fsdp_zero2.yaml"

_RESHARD_AFTER_FORWARD = "FSDP_RESHARD_AFTER_FORWARD"
_UNSUPPORTED = {
    "FSDP_OFFLOAD_PARAMS": "fsdp_offload_params",
    "FSDP_ACTIVATION_CHECKPOINTING": "fsdp_activation_checkpointing",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "fsdp_cpu_ram_efficient_loading",
}
"""Options of accelerate that would have no effect here, or would leave some processes without weights."""


def check_launch() -> None:
    """Raise UserError for a launch by DeepSpeed, or by FSDP with options that are not supported."""
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
        raise UserError(
            "DeepSpeed updates the weights in the backward pass, before a bad step can be skipped: launch "
            "with configs/accelerate/fsdp_zero2.yaml, which shards the same things by FSDP2"
        )
    if not parse_flag_from_env(USE_FSDP):
        return
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise UserError(f"fsdp_version: 1 is not supported: launch with {FILES}")
    for variable, key in _UNSUPPORTED.items():
        if parse_flag_from_env(variable):
            raise UserError(f"{key}: true is not supported: launch with {FILES}")
    try:
        parse_flag_from_env(_RESHARD_AFTER_FORWARD)
    except ValueError as error:  # FSDP1 has names of strategies here
        value = os.environ[_RESHARD_AFTER_FORWARD]
        raise UserError(
            f"fsdp_reshard_after_forward: {value}, give true or false: launch with {FILES}"
        ) from error


def is_sharded() -> bool:
    """Return whether this launch shards weights; a single process always has them in full."""
    return parse_flag_from_env(USE_FSDP) and processes().num_processes > 1


class ShardedModule(nn.Module):
    """A module whose trained weights are sharded.

    A forward pass gathers them; a backward pass leaves each process its shard of the mean gradient.

    Args:
        module: its parameters are replaced by their shards. Frozen parameters outside of `layers` stay in
            full, because they are needed from the first layer to the last.
        accelerator: the training's accelerator.
        layers: parts of the module that are gathered one at a time, frozen weights too. They must run within
            the module's own forward pass, equally often in every process.
    """

    def __init__(self, module: nn.Module, accelerator: Accelerator, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.module = module
        self._accelerator = accelerator
        mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        reshard = parse_flag_from_env(_RESHARD_AFTER_FORWARD, default=True)
        for layer in layers:
            fully_shard(layer, mesh=mesh, reshard_after_forward=reshard)
        self.to(accelerator.device)
        frozen = {
            parameter
            for parameter in self.parameters()
            if not parameter.requires_grad and not isinstance(parameter, DTensor)
        }
        fully_shard(self, mesh=mesh, reshard_after_forward=False, ignored_params=frozen)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module: in the training's precision where gradients are taken, in its own where not."""
        with self._accelerator.autocast() if torch.is_grad_enabled() else nullcontext():
            return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within it, backward passes add to this process's own gradients, as DistributedDataParallel's do.

        What was gathered outside of the layers stays gathered. Without layers no process waits for another
        then, and processes may run different numbers of backward passes. `Accelerator.no_sync` calls it.
        """
        assert isinstance(self, FSDPModule)  # fully_shard has made it one
        self.set_requires_gradient_sync(False)
        self.set_reshard_after_backward(False, recurse=False)
        try:
            yield
        finally:
            self.set_requires_gradient_sync(True)
            self.set_reshard_after_backward(True, recurse=False)


def full_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor in full, gathered if it is sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, other: Tensor) -> Tensor:
    """Shard a full tensor, the same in every process, as `other` is (if it is). Nothing is sent."""
    if not isinstance(other, DTensor):
        return tensor
    tensor = tensor.to(other.device)
    return distribute_tensor(tensor, other.device_mesh, other.placements, src_data_rank=None)


@contextmanager
def unsharded_weights(module: nn.Module) -> Iterator[None]:
    """Within it, the trained weights are there in full, to run or save the module other than by its
    training's forward pass. Changes to them are lost."""
    shards = unshard(module)
    try:
        yield
    finally:
        for owner, name, shard in shards:
            setattr(owner, name, shard)


def unshard(module: nn.Module) -> Sequence[tuple[nn.Module, str, nn.Parameter]]:
    """Replace the sharded trained weights by full ones; return the owner, name and shard of each.

    Sharded frozen weights stay sharded. Layers that are gathered one at a time can only be read and saved
    then: their forward pass would gather the shards.
    """
    for child in module.modules():
        if isinstance(child, FSDPModule):  # else in stage 2 its parameters are FSDP's last gathered tensors
            child.reshard()
    shards = [
        (owner, name, parameter)
        for owner in module.modules()
        for name, parameter in owner.named_parameters(recurse=False)
        if parameter.requires_grad and isinstance(parameter, DTensor)
    ]
    gathered: dict[nn.Parameter, nn.Parameter] = {}
    for owner, name, shard in shards:
        if shard not in gathered:
            gathered[shard] = nn.Parameter(full_tensor(shard.detach()))
        setattr(owner, name, gathered[shard])
    return shards
