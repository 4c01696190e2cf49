"""python -m benchmarks.speed.maml.counted_memory --clips_at_once 8 --memory adjoint_host

Count the memory of one training step of Meta-PerSER from the shapes of its tensors. Nothing is computed, and
no GPU is needed: the step runs on torch's fake tensors, which have shapes and no values. The bytes of all
tensors that are alive are added up whenever an operation makes one. What a GPU's libraries take is left out,
and so is what autocast keeps in float32 on a GPU and not on a CPU: on an H200, a step took 29% more (S = 5,
K = 32; `benchmarks/results/gpu.md`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.speed.maml.case import RATE, MamlCase, loss, make_case
from benchmarks.speed.maml.presets import PRESETS
from benchmarks.speed.timing.rounds import Precision
from meta_perser.adaptation.lslr import LearnedRates
from meta_perser.adaptation.step_schedule import StepSchedule
from meta_perser.options import Memory
from meta_perser.recognizer.clip_batch import GPU_BUCKET_COST, Bucket, ClipBatch, bucket_positions
from meta_perser.training.outer_loop import MetaLearner
from perser.cli.command import Command
from perser.cli.main import run_command
from perser.errors import UserError

GIBIBYTE = 2**30


COUNTED_STEPS = 2
"""Inner steps that are counted. Each further one keeps the weights that it starts from, and nothing else."""


class LiveBytes(TorchDispatchMode):
    """Adds up the bytes of all tensors that operations within it made and that are still alive.

    Tensors that share memory count once. `peak` is the largest sum so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: weakref.WeakKeyDictionary[Any, None] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: Any) -> None:
        if storage in self._known:
            return
        self._known[storage] = None
        weakref.finalize(storage, self._free, storage.nbytes())
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)

    def _free(self, size: int) -> None:
        self.live -= size


def peak_of(run: Callable[[], object]) -> int:
    """Return how many bytes the tensors that `run` makes take at their peak."""
    with LiveBytes() as counted:
        run()
    return counted.peak


@dataclass(frozen=True)
class CountedStep:
    """The memory of a training step for one person, in bytes.

    Args:
        model: the recognizer's weights.
        optimizer: gradients and Adam's two moments of what moves.
        kept: the weights of the inner steps, on the GPU.
        graph: the rest: one step's graph, and vectors as long as what moves.
    """

    model: int
    optimizer: int
    kept: int
    graph: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.model + self.optimizer + self.kept + self.graph


def count_step(
    shapes: dict[str, Any],
    clips: int,
    steps: int,
    precision: Precision,
    memory: Memory,
    clips_at_once: int | None,
    scope: str = "all",
) -> CountedStep:
    """Count a second-order step, with CSMT, of a wav2vec2-base but for these shapes."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        case = make_case(shapes, clips, "cpu", precision, scope=scope)
        batch = fake_batch(case)
        moving = sum(weight.nbytes for weight in case.moving)
        rates = LearnedRates(list(case.model.trainable_parameters()), COUNTED_STEPS, RATE)
        learner = MetaLearner(case.model, rates, loss, memory, clips_at_once=clips_at_once)

        def step() -> None:
            with case.autocast():
                outer = learner(StepSchedule.plain(COUNTED_STEPS), 1.0, (batch, case.targets))
            torch.autograd.grad(outer, [*case.moving, *rates.parameters()])

        peak = peak_of(step)
        of_model = sum(tensor.nbytes for tensor in case.model.state_dict().values())
    further = 0 if memory == "adjoint_host" else max(steps - COUNTED_STEPS, 0) * moving
    return CountedStep(of_model, 3 * moving, further, peak)


def fake_batch(case: MamlCase) -> ClipBatch:
    """Return a batch of the shapes that the case's clips have, in the buckets of a GPU."""
    encoder = case.model.encoder
    lengths = [encoder.frame_count(samples) for samples in case.lengths]
    buckets = []
    for positions in bucket_positions(lengths, GPU_BUCKET_COST):
        longest = max(lengths[position] for position in positions)
        mask = torch.ones(len(positions), longest, dtype=torch.bool)
        frames = torch.zeros(len(positions), longest, encoder.front_size)
        buckets.append(Bucket(frames, mask, torch.tensor(positions)))
    return ClipBatch(torch.zeros(len(lengths), 0, encoder.hidden_size), tuple(buckets))


def counted_memory(
    preset: str = "base",
    clips: int = 32,
    steps: int = 50,
    precision: Precision = "bf16",
    memory: Memory = "adjoint",
    clips_at_once: int | None = None,
    scope: str = "all",
) -> None:
    """Count the memory of one training step of Meta-PerSER from the shapes of its tensors, without a GPU.

    Args:
        preset: shapes of the encoder: base (wav2vec2-base), small or tiny.
        clips: K.
        steps: S.
        precision: float32, tf32 or bf16.
        memory: as `inner.memory`: unroll is not counted.
        clips_at_once: as `inner.clips_at_once`.
        scope: what adapts: all or top_layers:N.
    """
    if memory == "unroll":
        raise UserError("memory: unroll keeps every step's graph, which is not counted: give adjoint")
    counted = count_step(PRESETS[preset].encoder, clips, steps, precision, memory, clips_at_once, scope)
    for name in ("model", "optimizer", "kept", "graph", "total"):
        print(f"{name:10s}{getattr(counted, name) / GIBIBYTE:6.2f} GiB")


if __name__ == "__main__":
    run_command(Command(counted_memory))
