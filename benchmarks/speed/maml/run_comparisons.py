"""Run every comparison of Meta-PerSER in one precision, and print each when it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console

from benchmarks.speed.maml.adaptation import SCOPES, check_adaptation, compare_adaptations
from benchmarks.speed.maml.by_hand import SCOPES as BY_HAND_SCOPES
from benchmarks.speed.maml.by_hand import compare_with_by_hand
from benchmarks.speed.maml.case import MamlCase, make_case, make_network
from benchmarks.speed.maml.noise import MEAN_SECONDS, SAMPLE_RATE
from benchmarks.speed.maml.presets import BASE, MamlPreset
from benchmarks.speed.maml.proximal import compare_with_proximal
from benchmarks.speed.maml.step import compare_peaks, compare_steps
from benchmarks.speed.timing.comparison import Peaks, Timing, halve_until_it_fits
from benchmarks.speed.timing.machine import matrix_rate
from benchmarks.speed.timing.operations import count_operations
from benchmarks.speed.timing.rounds import Precision, time_in_rounds
from benchmarks.speed.timing.table import print_memory, print_timing, timing_json
from perser.device import set_tf32

CHECKED_CLIPS, CHECKED_STEPS = 4, 2
"""Support and steps on which adapted weights are compared."""

FRONT_END_PASSES = 4


@dataclass(frozen=True)
class MamlComparisons:
    """The comparisons of one run in one precision."""

    preset: MamlPreset
    device: str
    precision: Precision
    seed: int
    console: Console

    def run(self) -> dict[str, Any]:
        """Return the ratios, and all that they are computed from."""
        set_tf32(torch.device(self.device), self.precision == "tf32")
        rate = matrix_rate(torch.device(self.device), self.precision)
        self.console.print(f"one large matrix product, {self.precision}: {rate / 1e9:.4g} GFLOP/s\n")
        step = halve_until_it_fits(self.preset.step_clips, self._step)
        print_timing(step, rate, self.console)
        memory = halve_until_it_fits(self.preset.memory_clips, self._memory)
        print_memory(memory, self.console)
        adaptations = []
        for scope in SCOPES:
            adaptations.append(self._adaptation(scope))
            print_timing(adaptations[-1], rate, self.console)
        adaptations.append(compare_with_proximal(self._case(self.preset.adapt_clips, "head"), self.preset))
        print_timing(adaptations[-1], rate, self.console)
        by_hand = self._by_hand(rate)
        ratios = step.ratios | {"peak_memory_vs_higher": memory.ratio}
        for timing in (*adaptations, *by_hand):
            ratios |= timing.ratios
        return {
            "ratios": ratios,
            "matrix_rate": rate,
            "timings": [timing_json(timing, rate) for timing in (step, *adaptations, *by_hand)],
            "memory": {"title": memory.title, "bytes": memory.peaks},
        }

    def _case(self, clips: int, scope: str = "all") -> MamlCase:
        return make_case(self.preset.encoder, clips, self.device, self.precision, self.seed, scope)

    def _step(self, clips: int) -> Timing:
        return compare_steps(self._case(clips), self.preset.steps, self.preset.repeats)

    def _memory(self, clips: int) -> Peaks:
        return compare_peaks(self.preset, clips, self.device, self.precision, self.seed)

    def _adaptation(self, scope: str) -> Timing:
        small = self._case(min(CHECKED_CLIPS, self.preset.adapt_clips), scope)
        agreement = check_adaptation(small, CHECKED_STEPS)
        return compare_adaptations(self._case(self.preset.adapt_clips, scope), self.preset, agreement)

    def _by_hand(self, rate: float) -> list[Timing]:
        """Compare with loops written by hand, in float32 on small encoders, where overhead shows."""
        if self.precision != "float32":
            return []
        timings = []
        for scope in BY_HAND_SCOPES:
            shapes, rounds = self.preset.by_hand, self.preset.by_hand_rounds
            timings += compare_with_by_hand(shapes, scope, self.device, rounds, self.seed)
        for timing in timings:
            print_timing(timing, rate, self.console)
        return timings


def print_front_end_shares(preset: MamlPreset, device: str, console: Console) -> dict[str, Any]:
    """Print and return the front-end's share of a forward pass: in this encoder and in wav2vec2-base."""
    shares = {}
    for name, shapes in (("this encoder", preset.encoder), ("wav2vec2-base", BASE)):
        operations, time = front_end_share(shapes, torch.device(device))
        shares[name] = {"operations": operations, "seconds": time}
        share = f"{operations:.0%} of operations, {time:.0%} of time"
        console.print(f"front-end's share of a forward pass in {name}: {share}")
    return shares


@torch.no_grad()
def front_end_share(shapes: dict[str, Any], device: torch.device) -> tuple[float, float]:
    """Return the front-end's share of the operations and of the seconds of a forward pass.

    The pass reads one clip of mean length, unpadded; the seconds are those of the fastest of some passes.
    """
    network = make_network(shapes).eval().to(device)
    clip = torch.zeros(1, int(MEAN_SECONDS * SAMPLE_RATE), device=device)
    runs = {"front": lambda: network.feature_extractor(clip), "whole": lambda: network(clip)}
    counts = {name: count_operations(run) for name, run in runs.items()}
    taken = time_in_rounds(runs, FRONT_END_PASSES, device)
    least = {name: min(seconds) for name, seconds in taken.items()}
    return counts["front"] / counts["whole"], least["front"] / least["whole"]
