"""What a training loop changes as it goes, as tensors and plain values: all that it takes to go on.

Checkpoints on disk: each a folder that is whole or not there, told apart from a damaged one by checksums.

000012-step-340/
    tensors.safetensors
    state.json
    sha256.json            of the two others
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
from torch.optim.lr_scheduler import LRScheduler

from perser.io.checksums import file_sha256
from perser.io.files import atomic_folder, explain_write_errors
from perser.training.loop import BestWeights
from perser.training.sharding import shard_like, whole

Tensors = dict[str, Tensor]

Facts = dict[str, Any]
"""What JSON can hold."""


@dataclass(frozen=True)
class TrainingState:
    """Everything that a loop must have back to go on as if it had never stopped.

    Torch's own generator is not among it: `seed_step` starts it anew for every step.

    Args:
        module: whose trained parameters move; what is frozen comes from where it came from before.
        optimizer: of them.
        schedule: of its rates, if they have one.
        best: the best weights so far.
        generators: NumPy's, by name, that the loop draws from.
        counters: what the loop counts and collects, plain values by name; the loop reads and writes it.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler | None
    best: BestWeights
    generators: Mapping[str, np.random.Generator] = field(default_factory=dict)
    counters: Facts = field(default_factory=dict)

    def capture(self) -> tuple[Tensors, Facts]:
        """Copies of all of it, in memory of the CPU. What is in shares is gathered: all processes call it."""
        optimizer = self.optimizer.state_dict()
        tensors = {f"module/{name}": one for name, one in _trained(self.module).items()}
        tensors |= {f"best/{name}": one for name, one in self.best.weights.items()}
        plain: Facts = {}
        for parameter, values in optimizer["state"].items():
            for name, value in _unwrapped(values):
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{parameter}/{name}"] = value
                else:
                    plain.setdefault(str(parameter), {})[name] = value
        facts = {
            "best": {"score": self.best.score, "step": self.best.step} if self.best.weights else None,
            "optimizer": {"state": plain, "param_groups": optimizer["param_groups"]},
            "schedule": self.schedule and self.schedule.state_dict(),
            "generators": {name: one.bit_generator.state for name, one in self.generators.items()},
            "counters": self.counters,
        }
        copies = {
            name: whole(one.detach()).to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, one in tensors.items()
        }
        return copies, facts

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], facts: Facts) -> None:
        """Put what `capture` gave into these very objects."""
        for name, parameter in _trained(self.module).items():
            parameter.copy_(shard_like(tensors[f"module/{name}"], parameter))
        if facts["best"]:
            device = next(self.module.parameters()).device
            kept = {name: one.to(device) for name, one in _under("best/", tensors).items()}
            self.best.take(kept, **facts["best"])
        state: dict[int, dict[str, Any]] = {
            int(parameter): dict(values) for parameter, values in facts["optimizer"]["state"].items()
        }
        moved = [one for group in self.optimizer.param_groups for one in group["params"]]
        for place, value in _under("optimizer/", tensors).items():
            number, _, name = place.partition("/")
            value = value.clone()  # aligned as torch's own memory is
            parameter = moved[int(number)]
            if value.shape == parameter.shape:
                value = shard_like(value, parameter)
            state.setdefault(int(number), {})[name] = value
        groups = [
            {name: tuple(one) if name == "betas" else one for name, one in group.items()}
            for group in facts["optimizer"]["param_groups"]
        ]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        if self.schedule is not None:
            self.schedule.load_state_dict(dict(facts["schedule"]))
        for name, generator in self.generators.items():
            generator.bit_generator.state = facts["generators"][name]
        self.counters.clear()
        self.counters.update(facts["counters"])


def seed_step(seed: int, step: int, process: int = 0) -> None:
    """Start torch's generators for one step of one process: its noise depends on nothing before it, so that
    there is nothing to keep. `step` counts from 1."""
    drawn = np.random.SeedSequence([seed, step, process]).generate_state(2, np.uint32)
    torch.manual_seed(int(drawn[0]) << 32 | int(drawn[1]))


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: one for name, one in module.named_parameters() if one.requires_grad}


def _unwrapped(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What an optimizer keeps of a parameter; bitsandbytes' puts part of it into a dictionary within, and
    takes it without too."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from value.items()
        else:
            yield name, value


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}


TENSORS, STATE, SUMS = "tensors.safetensors", "state.json", "sha256.json"

KEPT = 2
"""How many are kept: the newest, and the one before in case that it turns out to be damaged."""


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first, whether whole or damaged."""
    return sorted(one for one in folder.glob("[0-9]*") if one.is_dir())


def write_checkpoint(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write one more, then remove the oldest but the `KEPT` newest.

    Raises UserError where it cannot be written; those before are still there then.
    """
    earlier = checkpoints(folder)
    number = int(earlier[-1].name.partition("-")[0]) + 1 if earlier else 1
    out = folder / f"{number:06d}-step-{step}"
    advice = f"make room, and the same command goes on from {earlier[-1].name}" if earlier else "make room"
    with explain_write_errors(out, advice):
        with atomic_folder(out, SUMS) as written:
            save_file(tensors, written / TENSORS)
            (written / STATE).write_text(json.dumps(state), encoding="utf-8")
            sums = {name: file_sha256(written / name) for name in (TENSORS, STATE)}
            (written / SUMS).write_text(json.dumps(sums), encoding="utf-8")
        for one in checkpoints(folder)[:-KEPT]:
            shutil.rmtree(one)


def read_checkpoint(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Its tensors, on the CPU, and its state. Raises ValueError where it is not whole."""
    try:
        sums = json.loads((checkpoint / SUMS).read_text(encoding="utf-8"))
        if wrong := [name for name in (TENSORS, STATE) if file_sha256(checkpoint / name) != sums[name]]:
            raise ValueError(f"{' and '.join(wrong)} changed since written")
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        return load_file(checkpoint / TENSORS), state
    except (OSError, KeyError, TypeError, UnicodeDecodeError, SafetensorError) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; a line on standard error for each that is not."""
    for one in reversed(checkpoints(folder)):
        try:
            read_checkpoint(one)
        except ValueError as error:
            print(f"{one} is damaged ({error}): going on without it", file=sys.stderr)
        else:
            return one
    return None


def remove_leftovers(folder: Path, newest: Path) -> None:
    """Remove damaged checkpoints after `newest`, and what was being written when a run was killed."""
    for one in (*folder.glob(".*"), *(one for one in checkpoints(folder) if one.name > newest.name)):
        shutil.rmtree(one, ignore_errors=True)
