"""Peak memory of one second-order step, by theirs and by ours."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

from benchmarks.speed.maml import ours, theirs_higher
from benchmarks.speed.maml.case import make_case
from benchmarks.speed.maml.padded import HookFreeRecognizer, padded_batch
from benchmarks.speed.maml.presets import Preset
from benchmarks.speed.timing.comparison import Peaks
from benchmarks.speed.timing.measure import Precision, by_contender
from perser.peak_memory import peak_bytes

Who = Literal["higher", "ours (adjoint)"]

CONTENDERS: tuple[Who, ...] = get_args(Who)


def compare_peaks(preset: Preset, clips: int, device: str, precision: Precision, seed: int) -> Peaks:
    """What one step on `clips` clips adds to what its model, its clips and their features already take."""
    arguments = (preset, clips, device, precision, seed)
    peaks = by_contender(_peak_of_one_step, CONTENDERS, arguments, device)
    title = f"peak memory of a second-order step, S = {preset.memory_steps}, K = {clips}, {precision}"
    return Peaks(title, peaks)


def _peak_of_one_step(
    who: Who, preset: Preset, clips: int, device: str, precision: Precision, seed: int
) -> int:
    case = make_case(preset.encoder, clips, device, precision, seed)
    if who == "higher":
        model, batch = HookFreeRecognizer(case.model), padded_batch(case)
        return peak_bytes(
            lambda: theirs_higher.outer_gradients(model, batch, case, preset.memory_steps), case.device
        )
    with TemporaryDirectory() as folder:
        source = ours.encode(case, Path(folder))
        return peak_bytes(
            lambda: ours.outer_gradients(case, source, preset.memory_steps, "adjoint"), case.device
        )
