"""Peak memory of one second-order step, by theirs and by ours."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import torch

from benchmarks.speed import ours, theirs_higher
from benchmarks.speed.case import make_case
from benchmarks.speed.measure import Run
from benchmarks.speed.padded import HookFreeRecognizer, padded_batch
from benchmarks.speed.presets import Precision, Preset
from perser.errors import UserError

Who = Literal["higher", "ours (adjoint)"]
CONTENDERS: tuple[Who, ...] = get_args(Who)
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Peaks:
    """Bytes by contender."""

    title: str
    peaks: dict[Who, int]

    @property
    def ratio(self) -> float:
        """Theirs over ours."""
        return self.peaks["higher"] / self.peaks["ours (adjoint)"]


def compare_peaks(preset: Preset, clips: int, device: str, precision: Precision, seed: int) -> Peaks:
    """What one step on `clips` clips adds to what its model, its clips and their features already take.

    On a GPU what torch allocates. On a CPU resident memory, each contender in a process of its own that
    nothing else has made larger; its high-water mark is read from /proc (getrusage's would be that of the
    process which started it).
    Raises UserError where there is no /proc.
    """
    arguments = (preset, clips, device, precision, seed)
    if device == "cuda":
        peaks = {who: _peak_of_one_step(who, *arguments) for who in CONTENDERS}
    elif not _STATUS.exists():
        raise UserError("peak memory on a CPU is read from /proc/self/status, which this system lacks")
    else:
        spawn = get_context("spawn")
        with ExitStack() as alive:
            coming = {}
            for who in CONTENDERS:
                process = alive.enter_context(ProcessPoolExecutor(1, spawn))
                coming[who] = process.submit(_peak_of_one_step, who, *arguments)
            peaks = {who: one.result() for who, one in coming.items()}
    title = f"peak memory of a second-order step, S = {preset.memory_steps}, K = {clips}, {precision}"
    return Peaks(title, peaks)


def _peak_of_one_step(
    who: Who, preset: Preset, clips: int, device: str, precision: Precision, seed: int
) -> int:
    case = make_case(preset.encoder, clips, device, precision, seed)
    if who == "higher":
        model, batch = HookFreeRecognizer(case.model), padded_batch(case)
        return _added(
            lambda: theirs_higher.outer_gradients(model, batch, case, preset.memory_steps), case.device
        )
    with TemporaryDirectory() as folder:
        source = ours.encode(case, Path(folder))
        return _added(lambda: ours.outer_gradients(case, source, preset.memory_steps, "adjoint"), case.device)


def _added(run: Run, device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    """Bytes of one entry of this process's status."""
    (line,) = [one for one in _STATUS.read_text().splitlines() if one.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024
