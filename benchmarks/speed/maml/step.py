"""Compare one second-order step of meta-training, its time and its memory: ours, `higher`, plain MAML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

from torch import Tensor

from benchmarks.speed.maml import ours
from benchmarks.speed.maml.case import MamlCase, make_case
from benchmarks.speed.maml.padded import (
    HookFreeRecognizer,
    PaddedRecognizer,
    encoded_without_padding,
    padded_batch,
)
from benchmarks.speed.maml.peers import higher_gradients, plain_maml_gradients
from benchmarks.speed.maml.presets import MamlPreset
from benchmarks.speed.timing.comparison import Peaks, Row, Timing, check_agreement
from benchmarks.speed.timing.operations import count_operations, run_and_count
from benchmarks.speed.timing.rounds import Precision, distance, peak_by_contender, time_in_rounds
from meta_perser.options import InnerOptions, OuterOptions
from perser.peak_memory import run_with_peak

IEMOCAP_UTTERANCES = 10_039

MemoryContender = Literal["higher", "ours (adjoint)"]


def encodings_per_draw() -> float:
    """Return how often a clip is encoded each time it is drawn.

    That is every utterance of IEMOCAP once, over the draws of a training run by the default options.
    """
    inner, outer = InnerOptions(), OuterOptions()
    return IEMOCAP_UTTERANCES / (outer.steps * outer.batch_size * inner.support)


def compare_steps(case: MamlCase, steps: int, rounds: int) -> Timing:
    """Time the step of each contender, after a check that their outer gradients agree.

    The peers have their padded batch ready; ours reads its frames from the cache at every step.
    """
    plain, for_higher = PaddedRecognizer(case.model), HookFreeRecognizer(case.model)
    batch = padded_batch(case)
    with TemporaryDirectory() as folder:
        source = ours.encode(case, Path(folder))
        runs = {
            "higher": lambda: higher_gradients(for_higher, batch, case, steps),
            "plain MAML": lambda: plain_maml_gradients(plain, batch, case, steps),
            "ours": lambda: ours.outer_gradients(case, source, steps),
        }
        gradients, own_count = run_and_count(runs["ours"])
        agreement = _agreement(case, gradients, runs)
        count = count_operations(runs["plain MAML"])  # `higher` computes the same products
        timed = {**runs, "encoding": lambda: ours.encode_anew(case)}
        taken = time_in_rounds(timed, rounds, case.device)
    encoding = count_operations(lambda: ours.encode_anew(case))

    def with_encoding(name: str, share: float) -> Row:
        rounds = [step + share * once for step, once in zip(taken["ours"], taken["encoding"], strict=True)]
        return Row(name, rounds, own_count + round(share * encoding))

    amortized = with_encoding("ours, encoded once a training", encodings_per_draw())
    peers = [Row(name, taken[name], count) for name in ("higher", "plain MAML")]
    ratios = {
        key: row.seconds / amortized.seconds
        for key, row in zip(("step_vs_higher", "step_vs_plain_maml"), peers, strict=True)
    }
    rows = [
        *peers,
        with_encoding("ours, encoding left out", 0.0),
        amortized,
        with_encoding("ours, encoded at every step", 1.0),
    ]
    title = f"second-order step, S = {steps}, K = {len(case.waveforms)}, {case.precision}"
    return Timing(title, rows, amortized, taken["encoding"], ratios, agreement)


def _agreement(
    case: MamlCase, gradients: list[Tensor], runs: dict[str, Callable[[], list[Tensor]]]
) -> dict[str, float]:
    """Return the distance of our gradients from each peer's, whose front-end reads clips without padding."""
    with encoded_without_padding(case.model, case.lengths):
        distances = {name: distance(gradients, runs[name]()) for name in ("higher", "plain MAML")}
    if case.precision == "float32":
        check_agreement(distances)
    return distances


def compare_peaks(preset: MamlPreset, clips: int, device: str, precision: Precision, seed: int) -> Peaks:
    """Return the memory that one step on `clips` clips adds to that of model, clips and features."""
    arguments = (preset, clips, device, precision, seed)
    peaks = peak_by_contender(_peak_of_a_step, get_args(MemoryContender), arguments, device)
    title = f"peak memory of a second-order step, S = {preset.memory_steps}, K = {clips}, {precision}"
    return Peaks(title, peaks)


def _peak_of_a_step(
    name: MemoryContender, preset: MamlPreset, clips: int, device: str, precision: Precision, seed: int
) -> int | None:
    case, steps = make_case(preset.encoder, clips, device, precision, seed), preset.memory_steps
    if name == "higher":
        model, batch = HookFreeRecognizer(case.model), padded_batch(case)
        return run_with_peak(lambda: higher_gradients(model, batch, case, steps), case.device)[1]
    with TemporaryDirectory() as folder:
        source = ours.encode(case, Path(folder))
        return run_with_peak(lambda: ours.outer_gradients(case, source, steps, "adjoint"), case.device)[1]
