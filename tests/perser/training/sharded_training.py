"""A small training in float64 that is stopped and resumed, by one process or by two with sharded weights.

tests/perser/training/test_sharding.py compares the results.

    python tests/perser/training/sharded_training.py OUT
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import patch_environment
from torch import Tensor, nn

from perser.distributed import end_launched_process, own_share_of_batch
from perser.training.accelerator import start_accelerator, wrap_for_training
from perser.training.checkpoint import BestWeights, TrainingState
from perser.training.sharding import unshard, unsharded_weights

STEPS, STOP = 4, 2


class Net(nn.Module):
    """Two layers, one of them with a frozen part of another type, and a head of one row."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(6, 6, dtype=torch.float64) for _ in range(2))
        self.layers[1].base = nn.Parameter(torch.randn(6, 6, dtype=torch.bfloat16), requires_grad=False)
        self.layers[1].register_forward_hook(lambda layer, given, out: out + given[0] @ layer.base.double())
        self.head = nn.Linear(6, 1, dtype=torch.float64)
        self.frozen = nn.Linear(6, 6, dtype=torch.float64).requires_grad_(False)

    def forward(self, one: Tensor) -> Tensor:
        hidden = self.frozen(one)
        for layer in self.layers:
            hidden = layer(hidden).tanh()
        return self.head(hidden).square().mean()


def trained(items: int, by_layer: bool, stop: int = STEPS, stopped: Any = None) -> tuple[Any, dict[str, Any]]:
    """Train to `stop` from where another one stopped; gives the state, and what else is to be compared."""
    net, accelerator = Net(), start_accelerator(0)
    wrapped = wrap_for_training(net, accelerator, net.layers if by_layer else ())
    moving = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = accelerator.prepare(torch.optim.AdamW(moving, lr=0.1))
    best, counters = BestWeights(), {"done": 0}
    state = TrainingState(net, optimizer, None, best, counters=counters)
    if stopped is not None:
        state.restore(*stopped)
    found: dict[str, Any] = {
        "kept": sum(_kept(parameter) for parameter in net.parameters()),
        "norms": [],
        "looks": [],
    }
    clips = torch.randn(STEPS, items, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    while counters["done"] < stop:
        own, factor = own_share_of_batch(list(clips[counters["done"]]), lambda one: 1.0)
        for place, one in enumerate(own, start=1):
            with nullcontext() if place == len(own) else accelerator.no_sync(wrapped):
                accelerator.backward(wrapped(one) / items * factor)
        norm = accelerator.clip_grad_norm_(wrapped.parameters(), 1.0)
        found["norms"].append(float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm))
        optimizer.step()
        optimizer.zero_grad()
        counters["done"] += 1
        if by_layer:
            with torch.no_grad():
                found["looks"].append(wrapped(clips[0, 0]).item())
        else:
            with unsharded_weights(wrapped), torch.no_grad():
                found["looks"].append(net(clips[0, 0]).item())
        best.offer(-found["looks"][-1], counters["done"], net)
    captured = state.capture()
    unshard(wrapped)
    best.restore(net)
    # As it would be saved.
    found["best"] = {name: one.clone() for name, one in net.state_dict().items() if name in best.weights}
    return captured, found


def _kept(parameter: Tensor) -> int:
    """How many numbers of it this process has."""
    return (parameter.to_local() if hasattr(parameter, "to_local") else parameter).numel()


KINDS = {"one piece": (3, False, "true"), "by layer": (4, True, "true"), "stage 2": (4, True, "false")}
"""Items a step, which three are not shared equally; whether layers are gathered one at a time, and whether
they are given up after their forward pass."""


def everything() -> dict[str, Any]:
    """Of each kind."""
    found = {}
    for name, (items, by_layer, stage_3) in KINDS.items():
        with patch_environment(FSDP_RESHARD_AFTER_FORWARD=stage_3):
            undisturbed = trained(items, by_layer)
            stopped, _ = trained(items, by_layer, STOP)
            gone_on, _ = trained(items, by_layer, stopped=stopped)
        found[name] = {"undisturbed": undisturbed, "stopped": stopped, "gone on": gone_on}
    return found


if __name__ == "__main__":
    found = everything()
    if start_accelerator(0).is_main_process:
        torch.save(found, Path(sys.argv[1]))
    end_launched_process()
