"""Compare training steps on the same sequences: a loss on every label, and one on the last label alone."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.speed.speechlm.prompt_case import FEATURE_SHAPE, PromptCase
from benchmarks.speed.speechlm.prompt_presets import PromptPreset
from benchmarks.speed.timing.comparison import Row, Timing
from benchmarks.speed.timing.operations import count_operations
from benchmarks.speed.timing.rounds import time_in_rounds
from speechlm_icl.prompt.prompt import PromptBatch

EVERY, LAST = "a loss on every label", "a loss on the last label"


def compare_labels(case: PromptCase, preset: PromptPreset) -> Timing:
    """Time one supervised label. Of the language model, the adapter alone is trained."""
    batch, features = sequences(case, preset)
    last, _ = sequences(case, preset, first_target=preset.pairs)
    case.model.train()
    runs = {LAST: lambda: step(case, last, features), EVERY: lambda: step(case, batch, features)}
    counts = {name: count_operations(run) for name, run in runs.items()}
    taken = time_in_rounds(runs, preset.repeats, case.device)
    case.model.eval()
    labels = {LAST: preset.sequences, EVERY: preset.sequences * (preset.pairs + 1)}
    rows = [
        Row(name, [seconds / count for seconds in taken[name]], counts[name] // count)
        for name, count in labels.items()
    ]
    on_last, on_every = rows
    tokens = batch.token_ids.numel()
    notes = []
    for row in rows:
        rate = tokens / (row.seconds * labels[row.name])
        notes.append(f"{row.name}: {1 / row.seconds:.4g} labels a second, {rate:.4g} tokens a second")
    title = f"a supervised label, {preset.sequences} sequences of {preset.pairs + 1} clips, {case.precision}"
    ratios = {"labels_per_second_every_vs_one": on_last.seconds / on_every.seconds}
    return Timing(title, rows, on_every, [], ratios, {}, notes=tuple(notes))


def sequences(case: PromptCase, preset: PromptPreset, first_target: int = 0) -> tuple[PromptBatch, Tensor]:
    """Return training prompts and their clips' features (num_clips, L+1, D).

    The answers from `first_target` on are the targets. The features do not depend on the device.
    """
    answers = [*case.answers, [0]]
    prompts = [case.model.prompt.encode(answers, first_target) for _ in range(preset.sequences)]
    features = torch.randn(preset.sequences * len(answers), *FEATURE_SHAPE).to(case.device)
    return case.model.batch(prompts, features), features


def step(case: PromptCase, batch: PromptBatch, features: Tensor) -> None:
    """Compute loss and gradients. The optimizer's step is left out: it is the same for both."""
    case.model.zero_grad()
    loss = case.model.losses(batch, features)
    (loss.sum() / (loss != 0).sum()).backward()
