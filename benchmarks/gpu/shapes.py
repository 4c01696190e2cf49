"""Time and memory of Meta-PerSER at the shapes of wav2vec2-base, with random weights, K = 32 clips of noise.

The second-order step is compared with the library `higher` and a plain MAML loop, the adaptation with plain
fine-tuning. Without a GPU a tiny encoder takes their place: the contenders still have to agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from torch import Tensor

from benchmarks.gpu.findings import Check, NotHere, Seen, Settings, require
from benchmarks.gpu.precisions import kernel_times, products_in, seen_in
from benchmarks.speed.maml import ours
from benchmarks.speed.maml.adaptation import SCOPES, check_adaptation, compare_adaptations
from benchmarks.speed.maml.case import MamlCase, make_case
from benchmarks.speed.maml.presets import PRESETS, MamlPreset
from benchmarks.speed.maml.run_comparisons import CHECKED_CLIPS, CHECKED_STEPS
from benchmarks.speed.maml.step import compare_peaks, compare_steps
from benchmarks.speed.timing.comparison import Timing, halve_until_it_fits
from benchmarks.speed.timing.machine import matrix_rate
from benchmarks.speed.timing.operations import count_operations
from benchmarks.speed.timing.rounds import Precision, seconds
from perser.peak_memory import run_with_peak

TARGETS = {"step_vs_higher": 2.0, "adapt_vs_finetune": 3.0}
"""What these ratios have to be at least on a GPU, in bf16."""

MEMORY_RATIO = 5.0
"""How many times less memory than `higher` our step has to take at S = 20."""

LONG_STEPS = 50
"""S of meta-training where every step of an adaptation has learned rates of its own."""

PEERS_CLIPS, PEERS_MEMORY_CLIPS = 16, 8
"""K of the comparisons with `higher`, whose graph of every step does not fit at K = 32. It is halved where
even this does not fit."""


def checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks of this part."""
    preset = preset_of(settings)
    for precision in precisions_of(settings):
        yield f"second-order step, {precision}", partial(second_order_step, settings, preset, precision)
        for scope in SCOPES:
            check = partial(adaptation, settings, preset, precision, scope)
            yield f"adaptation, scope {scope}, {precision}", check
        for steps in (preset.steps, LONG_STEPS) if settings.has_gpu else (preset.steps,):
            check = partial(own_step, settings, preset, precision, steps)
            yield f"our step alone, S = {steps}, {precision}", check
        if precision == "bf16" or not settings.has_gpu:
            yield f"peak memory, {precision}", partial(peak_memory, settings, preset, precision)
            yield (
                f"kernels of a second-order step, {precision}",
                partial(step_kernels, settings, preset, precision),
            )
            yield (
                f"kernels of an adaptation, {precision}",
                partial(adaptation_kernels, settings, preset, precision),
            )


def precisions_of(settings: Settings) -> tuple[Precision, ...]:
    """Return the precisions to measure in: first bf16, whose ratios have targets."""
    if not settings.has_gpu:
        return ("float32",)
    return ("bf16",) if settings.quick else ("bf16", "tf32")


def preset_of(settings: Settings) -> MamlPreset:
    """Return the shapes and rounds: those of wav2vec2-base on a GPU, or tiny ones."""
    if not settings.has_gpu:
        return PRESETS["tiny"]
    rounds, timed = (1, 3) if settings.quick else (3, 10)
    return replace(PRESETS["base"], step_clips=PEERS_CLIPS, repeats=rounds, timed_steps=timed)


def second_order_step(settings: Settings, preset: MamlPreset, precision: Precision) -> Seen:
    """Compare a second-order step with `higher` and plain MAML; in float32 the gradients have to agree."""
    require("higher")

    def compare(clips: int) -> Timing:
        case = make_case(preset.encoder, clips, settings.device, precision)
        return compare_steps(case, preset.steps, preset.repeats)

    with products_in(precision):
        timing = halve_until_it_fits(preset.step_clips, compare)
        return seen_in(timing, settings, precision, TARGETS if precision == "bf16" else {})


def adaptation(settings: Settings, preset: MamlPreset, precision: Precision, scope: str) -> Seen:
    """Compare the adaptation to a person with plain fine-tuning; in float32 the weights have to agree."""

    def compare(clips: int) -> Timing:
        small = make_case(preset.encoder, min(CHECKED_CLIPS, clips), settings.device, precision, scope=scope)
        agreement = check_adaptation(small, CHECKED_STEPS)
        case = make_case(preset.encoder, clips, settings.device, precision, scope=scope)
        return compare_adaptations(case, preset, agreement)

    with products_in(precision):
        timing = halve_until_it_fits(preset.adapt_clips, compare)
        return seen_in(timing, settings, precision, TARGETS if precision == "bf16" else {})


def own_step(settings: Settings, preset: MamlPreset, precision: Precision, steps: int) -> Seen:
    """Measure our own step at all clips, in the memory of one inner step (adjoint)."""
    with products_in(precision):
        case = make_case(preset.encoder, preset.memory_clips, settings.device, precision)
        source = ours.encode(case, None)

        def step(count: int) -> list[Tensor]:
            return ours.outer_gradients(case, source, count, "adjoint")

        # Each inner step is the same work, and counting makes a step slow.
        first, second = (count_operations(partial(step, count)) for count in (1, 2))
        operations = first + (steps - 1) * (second - first)
        taken, peak = run_with_peak(lambda: seconds(lambda: step(steps), case.device), case.device)
        floor = operations / matrix_rate(case.device, precision)
    if not settings.has_gpu:
        return Seen("runs; its figures need a GPU")
    gibibytes = (peak or 0) / 2**30
    text = f"K = {len(case.waveforms)}: {taken:.3g} s, {gibibytes:.3g} GiB at its peak"
    text += f", {floor / taken:.1%} of the matrix rate, {taken / floor:.3g} times the floor"
    return Seen(text, {"seconds": taken, "gibibytes": gibibytes, "utilization": floor / taken})


def peak_memory(settings: Settings, preset: MamlPreset, precision: Precision) -> Seen:
    """Compare the memory that a second-order step adds with what `higher` adds, at S = 20."""
    require("higher")
    if not settings.has_gpu:
        raise NotHere("needs a GPU: it measures memory alone")
    with products_in(precision):
        peaks = halve_until_it_fits(
            PEERS_MEMORY_CLIPS,
            lambda clips: compare_peaks(preset, clips, settings.device, precision, 0),
        )
    sizes = ", ".join(f"{name} {size / 2**30:.3g} GiB" for name, size in peaks.peaks.items())
    text = f"{peaks.title}: {sizes}; {peaks.ratio:.3g} times less (at least {MEMORY_RATIO:g})"
    return Seen(text, {"peak_memory_vs_higher": peaks.ratio}, peaks.ratio >= MEMORY_RATIO)


def step_kernels(settings: Settings, preset: MamlPreset, precision: Precision) -> Seen:
    """Profile one second-order step of one inner step."""
    with products_in(precision):
        case = make_case(preset.encoder, preset.step_clips, settings.device, precision)
        source = ours.encode(case, None)
        return _kernels(lambda: ours.outer_gradients(case, source, 1), case)


def adaptation_kernels(settings: Settings, preset: MamlPreset, precision: Precision) -> Seen:
    """Profile two steps of an adaptation."""
    with products_in(precision):
        case = make_case(preset.encoder, preset.adapt_clips, settings.device, precision)
        batch = ours.encode_anew(case)
        return _kernels(lambda: ours.adapted_weights(case, batch, 2), case)


def _kernels(run: Callable[[], object], case: MamlCase) -> Seen:
    if case.device.type != "cuda":
        run()
        return Seen("runs; its figures need a GPU")
    return kernel_times(run, case.device)
