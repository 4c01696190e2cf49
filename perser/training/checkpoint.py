"""Checkpoints: everything that a training needs to go on as if it had never stopped, and its files.

A checkpoint is a folder that is complete or not there. Checksums tell a damaged one from a good one.

000012-step-340/
    tensors.safetensors    weights, the best weights, the optimizer's state
    state.json             counters, schedules, generators
    checksums.json         of the two others
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from perser.io.checksums import CHECKSUMS, file_sha256, write_checksums
from perser.io.files import atomic_folder, explain_write_errors
from perser.training.sharding import full_tensor, shard_like

TENSORS, STATE = "tensors.safetensors", "state.json"
OLD_CHECKSUMS = "sha256.json"
"""How version 0.1.0 called `checksums.json` in checkpoints."""
NUM_CHECKPOINTS = 2
"""How many are kept: the newest, and the one before it in case that the newest is damaged."""

Tensors = dict[str, Tensor]
JsonObject = dict[str, Any]


class BestWeights:
    """The trained weights with the highest validation score so far."""

    def __init__(self) -> None:
        self.score = float("-inf")
        self.step = 0
        self.weights: Tensors = {}
        """Copies, by name; empty before the first offer."""

    def offer(self, score: float, step: int, module: nn.Module) -> bool:
        """Keep the trained weights if the score is the highest yet (NaN never is); return whether it is."""
        if not score > self.score:
            return False
        self.score, self.step = score, step
        self.weights = {
            name: full_tensor(parameter.detach()).clone()
            for name, parameter in moving_parameters(module).items()
        }
        return True

    def replace(self, weights: Tensors, score: float, step: int) -> None:
        """Take over what a checkpoint kept."""
        self.weights, self.score, self.step = weights, score, step

    @torch.no_grad()
    def restore(self, module: nn.Module) -> None:
        """Copy the best weights back into the module."""
        parameters = dict(module.named_parameters())
        for name, weight in self.weights.items():
            parameters[name].copy_(weight)


@dataclass(frozen=True)
class TrainingState:
    """Everything that a loop changes, and must have back to go on.

    Torch's own generator is not part of it: `seed_step` seeds it anew for every step.

    Args:
        module: its trained parameters are saved; frozen ones come from where they came from before.
        optimizer: of the module.
        schedule: of the learning rates, if there is one.
        best: the best weights so far.
        generators: NumPy generators that the loop draws from, by name.
        counters: what the loop counts and collects, as JSON values by name; the loop reads and writes it.
    """

    module: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler | None
    best: BestWeights
    generators: Mapping[str, np.random.Generator] = field(default_factory=dict)
    counters: JsonObject = field(default_factory=dict)

    def capture(self) -> tuple[Tensors, JsonObject]:
        """Return CPU copies of all of it. All processes have to call it: they gather sharded weights."""
        optimizer = self.optimizer.state_dict()
        tensors: Tensors = {
            f"module/{name}": weight for name, weight in moving_parameters(self.module).items()
        }
        tensors |= {f"best/{name}": weight for name, weight in self.best.weights.items()}
        plain: JsonObject = {}
        for parameter, values in optimizer["state"].items():
            for name, value in _flat(values):
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{parameter}/{name}"] = value
                else:
                    plain.setdefault(str(parameter), {})[name] = value
        values = {
            "best": {"score": self.best.score, "step": self.best.step} if self.best.weights else None,
            "optimizer": {"state": plain, "param_groups": optimizer["param_groups"]},
            "schedule": self.schedule and self.schedule.state_dict(),
            "generators": {
                name: generator.bit_generator.state for name, generator in self.generators.items()
            },
            "counters": self.counters,
        }
        copies = {
            name: full_tensor(tensor.detach()).to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
        }
        return copies, values

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], values: JsonObject) -> None:
        """Copy what `capture` returned into these objects."""
        for name, parameter in moving_parameters(self.module).items():
            parameter.copy_(shard_like(tensors[f"module/{name}"], parameter))
        if values["best"]:
            device = next(self.module.parameters()).device
            weights = {name: weight.to(device) for name, weight in _under("best/", tensors).items()}
            self.best.replace(weights, **values["best"])
        self._restore_optimizer(_under("optimizer/", tensors), values["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(dict(values["schedule"]))
        for name, generator in self.generators.items():
            generator.bit_generator.state = values["generators"][name]
        self.counters.clear()
        self.counters.update(values["counters"])

    def _restore_optimizer(self, tensors: Tensors, values: JsonObject) -> None:
        state: dict[int, JsonObject] = {int(number): dict(plain) for number, plain in values["state"].items()}
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for key, value in tensors.items():
            number, _, name = key.partition("/")
            value = value.clone()  # aligned in memory as torch's own tensors are
            parameter = parameters[int(number)]
            if value.shape == parameter.shape:
                value = shard_like(value, parameter)
            state.setdefault(int(number), {})[name] = value
        groups = [
            {name: tuple(value) if name == "betas" else value for name, value in group.items()}
            for group in values["param_groups"]
        ]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def seed_step(seed: int, step: int, process: int = 0) -> None:
    """Seed torch's generators for one step of one process.

    The step's noise then depends on nothing before it, and no generator has to be saved. `step` counts from
    1.
    """
    high, low = np.random.SeedSequence([seed, step, process]).generate_state(2, np.uint32)
    torch.manual_seed(int(high) << 32 | int(low))


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest first, damaged ones too."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


def write_checkpoint(folder: Path, step: int, tensors: Tensors, state: JsonObject) -> None:
    """Write one more checkpoint, then remove all but the newest `NUM_CHECKPOINTS`.

    Raises UserError where it cannot be written; earlier ones are still there then.
    """
    earlier = list_checkpoints(folder)
    number = int(earlier[-1].name.partition("-")[0]) + 1 if earlier else 1
    out = folder / f"{number:06d}-step-{step}"
    advice = f"make room, and the same command goes on from {earlier[-1].name}" if earlier else "make room"
    with explain_write_errors(out, advice):
        with atomic_folder(out, CHECKSUMS) as new:
            save_file(tensors, new / TENSORS)
            (new / STATE).write_text(json.dumps(state), encoding="utf-8")
            write_checksums(new, (TENSORS, STATE))
        for old in list_checkpoints(folder)[:-NUM_CHECKPOINTS]:
            shutil.rmtree(old)


def read_checkpoint(checkpoint: Path) -> tuple[Tensors, JsonObject]:
    """Return the tensors of a checkpoint, on the CPU, and its state.

    Raises ValueError where it is damaged.
    """
    try:
        checksums = checkpoint / CHECKSUMS
        if not checksums.exists() and (checkpoint / OLD_CHECKSUMS).exists():
            checksums = checkpoint / OLD_CHECKSUMS
        digests = json.loads(checksums.read_text(encoding="utf-8"))
        if wrong := [name for name in (TENSORS, STATE) if file_sha256(checkpoint / name) != digests[name]]:
            raise ValueError(f"{' and '.join(wrong)} changed since it was written")
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        return load_file(checkpoint / TENSORS), state
    except (OSError, KeyError, TypeError, UnicodeDecodeError, SafetensorError) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that is not damaged, and say on standard error which ones are."""
    for checkpoint in reversed(list_checkpoints(folder)):
        try:
            read_checkpoint(checkpoint)
        except ValueError as error:
            print(f"{checkpoint} is damaged ({error}): going on without it", file=sys.stderr)
        else:
            return checkpoint
    return None


def remove_leftovers(folder: Path, newest: Path) -> None:
    """Remove damaged checkpoints after `newest`, and what was half written when a run was killed."""
    damaged = (path for path in list_checkpoints(folder) if path.name > newest.name)
    for path in (*folder.glob(".*"), *damaged):
        shutil.rmtree(path, ignore_errors=True)


def moving_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that a training or an adaptation moves, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what an optimizer keeps of a parameter. bitsandbytes nests part of it, and loads it flat too."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from value.items()
        else:
            yield name, value


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
