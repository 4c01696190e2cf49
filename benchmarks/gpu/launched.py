"""accelerate launch --config_file FILE -m benchmarks.gpu.launched OUT

Run the three trainings in the process that was launched, and write down its backend and device. If the launch
shards weights, a small sharded module's gradients are compared with those of the module in full.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed.scaling_trainings import scaling_trainings
from benchmarks.speed.timing.rounds import distance
from perser.distributed import end_launched_process, processes
from perser.io.files import write_text_atomic
from perser.training.accelerator import start_accelerator
from perser.training.sharding import USE_FSDP, ShardedModule, full_tensor

WIDTH, LAYERS, CLIPS = 16, 2, 8


def run(out: Path) -> None:
    """Train, and write the report as JSON."""
    figures = out.with_suffix(".seconds.json")
    scaling_trainings(figures, "tiny")
    trainings = json.loads(figures.read_text(encoding="utf-8"))
    state = processes()
    is_group = torch.distributed.is_initialized()
    report: dict[str, Any] = {
        "backend": torch.distributed.get_backend() if is_group else None,
        "device": str(state.device),
        "processes": state.num_processes,
        "seconds": {name: median(values["seconds"]) for name, values in trainings.items()},
    }
    if is_group and os.environ.get(USE_FSDP) == "true":
        report["sharded_distance"] = sharded_distance()
    write_text_atomic(out, json.dumps(report) + "\n")


def sharded_distance() -> float:
    """Return the distance of a sharded module's gradients from those of the module in full."""
    accelerator = start_accelerator(0)
    clips = torch.randn(CLIPS, WIDTH).to(accelerator.device)
    gradients: list[list[Tensor]] = []
    for is_sharded in (False, True):
        torch.manual_seed(0)
        layers = [nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)]
        module = nn.Sequential(*layers).to(accelerator.device)
        wrapped = ShardedModule(module, accelerator, layers) if is_sharded else module
        wrapped(clips).square().mean().backward()
        found = [parameter.grad for parameter in module.parameters()]
        gradients.append([full_tensor(gradient) for gradient in found if gradient is not None])
    return distance(gradients[1], gradients[0])


if __name__ == "__main__":
    run(Path(sys.argv[1]))
    end_launched_process()
