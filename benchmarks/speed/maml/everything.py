"""Every comparison of Meta-PerSER in one precision, printed as it comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console

from benchmarks.speed.maml.adaptation import SCOPES, check_adaptation, compare_adaptations
from benchmarks.speed.maml.case import Case, make_case
from benchmarks.speed.maml.front_share import front_shares
from benchmarks.speed.maml.peak import compare_peaks
from benchmarks.speed.maml.presets import BASE, Preset
from benchmarks.speed.maml.step import compare_steps
from benchmarks.speed.timing.comparison import Peaks, halved_until_it_fits
from benchmarks.speed.timing.measure import Precision, matrix_rate
from benchmarks.speed.timing.table import print_memory, print_timing, timing_json

CHECKED_CLIPS, CHECKED_STEPS = 4, 2
"""Support and steps on which adapted weights are compared."""


@dataclass(frozen=True)
class Everything:
    """The comparisons of one run in one precision."""

    preset: Preset
    device: str
    precision: Precision
    seed: int
    console: Console

    def measure(self) -> dict[str, Any]:
        """The ratios, and all that they are made of."""
        rate = matrix_rate(torch.device(self.device), self.precision)
        self.console.print(f"one large matrix product, {self.precision}: {rate / 1e9:.4g} GFLOP/s\n")
        step = halved_until_it_fits(self.preset.step_clips, self._step)
        print_timing(step, rate, self.console)
        memory = halved_until_it_fits(self.preset.memory_clips, self._memory)
        print_memory(memory, self.console)
        adaptations = []
        for scope in SCOPES:
            adaptations.append(self._adaptation(scope))
            print_timing(adaptations[-1], rate, self.console)
        ratios = step.ratios | {"peak_memory_vs_higher": memory.ratio}
        for one in adaptations:
            ratios |= one.ratios
        return {
            "ratios": ratios,
            "matrix_rate": rate,
            "timings": [timing_json(one, rate) for one in (step, *adaptations)],
            "memory": {"title": memory.title, "bytes": memory.peaks},
        }

    def _case(self, clips: int, scope: str = "all") -> Case:
        return make_case(self.preset.encoder, clips, self.device, self.precision, self.seed, scope)

    def _step(self, clips: int) -> Any:
        return compare_steps(self._case(clips), self.preset.steps, self.preset.repeats)

    def _memory(self, clips: int) -> Peaks:
        return compare_peaks(self.preset, clips, self.device, self.precision, self.seed)

    def _adaptation(self, scope: str) -> Any:
        small = self._case(min(CHECKED_CLIPS, self.preset.adapt_clips), scope)
        agreement = check_adaptation(small, CHECKED_STEPS)
        return compare_adaptations(self._case(self.preset.adapt_clips, scope), self.preset, agreement)


def print_front_shares(preset: Preset, device: str, console: Console) -> dict[str, Any]:
    """The front-end's share of a forward pass: in this preset's encoder and in wav2vec2-base."""
    found = {}
    for name, shapes in (("this encoder", preset.encoder), ("wav2vec2-base", BASE)):
        operations, time = front_shares(shapes, torch.device(device))
        found[name] = {"operations": operations, "seconds": time}
        share = f"{operations:.0%} of operations, {time:.0%} of time"
        console.print(f"front-end's share of a forward pass in {name}: {share}")
    return found
