"""Weights, gradients and the optimizer's state in shares over the processes, by torch's FSDP2: what a launch
asks for by `configs/accelerate/fsdp.yaml` or `fsdp_zero2.yaml` (ZeRO, Rajbhandari et al. 2020, arXiv
1910.02054, stages 3 and 2).

A share is a DTensor; everything that reads or writes a weight outside of the forward and backward passes
gathers it first (`whole`), which all processes have to do together.
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

ASKED_FOR = "ACCELERATE_USE_FSDP"
"""What `accelerate launch` sets for both files."""

FILES = "configs/accelerate/fsdp.yaml or fsdp_zero2.yaml"

_STAGE_3 = "FSDP_RESHARD_AFTER_FORWARD"

_NOT_HERE = {
    "FSDP_OFFLOAD_PARAMS": "fsdp_offload_params",
    "FSDP_ACTIVATION_CHECKPOINTING": "fsdp_activation_checkpointing",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "fsdp_cpu_ram_efficient_loading",
}
"""Options of accelerate's that would be passed over, or leave some processes without weights."""


def check_launch() -> None:
    """Raises UserError for a launch by DeepSpeed, or by FSDP with what is not taken here."""
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
        raise UserError(
            "DeepSpeed takes its step within the backward pass, before a bad one can be skipped: launch with "
            "configs/accelerate/fsdp_zero2.yaml, which shares the same out by FSDP2"
        )
    if not parse_flag_from_env(ASKED_FOR):
        return
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise UserError(f"fsdp_version: 1 is not supported: launch with {FILES}")
    for variable, key in _NOT_HERE.items():
        if parse_flag_from_env(variable):
            raise UserError(f"{key}: true is not supported: launch with {FILES}")
    try:
        parse_flag_from_env(_STAGE_3)
    except ValueError as error:  # FSDP1's names of strategies
        value = os.environ[_STAGE_3]
        raise UserError(
            f"fsdp_reshard_after_forward: {value}, give true or false: launch with {FILES}"
        ) from error


def is_sharded() -> bool:
    """Whether this launch shares weights out; a single process has them whole."""
    return parse_flag_from_env(ASKED_FOR) and processes().num_processes > 1


class ShardedModule(nn.Module):
    """A module whose trained weights lie in shares; a forward pass gathers them, a backward pass leaves each
    process its share of the gradients' mean.

    Args:
        module: parameters are replaced by their shares; those that are frozen, and outside of `layers`, stay
            whole: they are needed from the first layer to the last.
        accelerator: of the training.
        layers: parts of it that are gathered one at a time, frozen weights too; they must run within the
            module's own forward, equally often in every process.
    """

    def __init__(self, module: nn.Module, accelerator: Accelerator, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.module = module
        self._accelerator = accelerator
        mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        stage_3 = parse_flag_from_env(_STAGE_3, default=True)
        for layer in layers:
            fully_shard(layer, mesh=mesh, reshard_after_forward=stage_3)
        self.to(accelerator.device)
        frozen = {one for one in self.parameters() if not one.requires_grad and not isinstance(one, DTensor)}
        fully_shard(self, mesh=mesh, reshard_after_forward=False, ignored_params=frozen)

    def forward(self, *given: Any, **named: Any) -> Any:
        """The module's, in the training's precision where gradients are taken, in its own where not."""
        with self._accelerator.autocast() if torch.is_grad_enabled() else nullcontext():
            return self.module(*given, **named)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Backward passes in it add to this process's own gradients, and what has been gathered outside of
        the layers stays: without layers nobody is waited for, and processes may take unequally many.
        `Accelerator.no_sync` calls it, as it does DistributedDataParallel's."""
        self.set_requires_gradient_sync(False)
        self.set_reshard_after_backward(False, recurse=False)
        try:
            yield
        finally:
            self.set_requires_gradient_sync(True)
            self.set_reshard_after_backward(True, recurse=False)


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be in shares, gathered."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, the same in every process, in shares as `other` is if that one is; nothing is sent."""
    if not isinstance(other, DTensor):
        return tensor
    tensor = tensor.to(other.device)
    return distribute_tensor(tensor, other.device_mesh, other.placements, src_data_rank=None)


@contextmanager
def unsharded_weights(module: nn.Module) -> Iterator[None]:
    """The weights whole meanwhile, for what runs or saves the module other than by its training's forward;
    changes of theirs are lost."""
    shares = unshard(module)
    try:
        yield
    finally:
        for owner, name, share in shares:
            setattr(owner, name, share)


def unshard(module: nn.Module) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Replace the trained weights that are in shares by whole ones; returns the owner, name and share of
    each. What is frozen in shares stays so, and layers that are gathered one at a time are for reading and
    saving then: their forward would gather the shares."""
    for one in module.modules():
        if isinstance(one, FSDPModule):  # without it stage 2's are what was gathered last, and FSDP's own
            one.reshard()
    shares = [
        (owner, name, one)
        for owner in module.modules()
        for name, one in owner.named_parameters(recurse=False)
        if one.requires_grad and isinstance(one, DTensor)
    ]
    gather_in_order: dict[nn.Parameter, nn.Parameter] = {}
    for owner, name, share in shares:
        if share not in gather_in_order:
            gather_in_order[share] = nn.Parameter(share.detach().full_tensor())
        setattr(owner, name, gather_in_order[share])
    return shares
