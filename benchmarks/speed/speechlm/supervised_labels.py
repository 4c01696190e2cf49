"""A training step on the same sequences: a loss on every label, and one on the last label alone."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.speed.speechlm.prompt_case import FEATURE_SHAPE, PromptCase
from benchmarks.speed.speechlm.prompt_presets import PromptPreset
from benchmarks.speed.timing.comparison import Row, Timing
from benchmarks.speed.timing.measure import by_turns
from benchmarks.speed.timing.operations import operations
from speechlm_icl.prompt.prompt import PromptBatch

EVERY, LAST = "a loss on every label", "a loss on the last label"


def compare_labels(case: PromptCase, preset: PromptPreset) -> Timing:
    """Seconds and operations of one supervised label. The language model is frozen but for its adapter."""
    batch, features = sequences(case, preset)
    last, _ = sequences(case, preset, first_target=preset.pairs)
    case.model.train()
    runs = {LAST: lambda: step(case, last, features), EVERY: lambda: step(case, batch, features)}
    counts = {who: operations(run) for who, run in runs.items()}
    taken = by_turns(runs, preset.repeats, case.device)
    case.model.eval()
    labels = {LAST: preset.sequences, EVERY: preset.sequences * (preset.pairs + 1)}
    rows = [Row(who, [part / labels[who] for part in taken[who]], counts[who] // labels[who]) for who in runs]
    theirs, own = rows
    tokens = batch.token_ids.numel()
    notes = []
    for row in rows:
        rate = tokens / (row.seconds * labels[row.who])
        notes.append(f"{row.who}: {1 / row.seconds:.4g} labels a second, {rate:.4g} tokens a second")
    title = f"a supervised label, {preset.sequences} sequences of {preset.pairs + 1} clips, {case.precision}"
    ratios = {"labels_per_second_every_vs_one": theirs.seconds / own.seconds}
    return Timing(title, rows, own, [], ratios, {}, notes=tuple(notes))


def sequences(case: PromptCase, preset: PromptPreset, first_target: int = 0) -> tuple[PromptBatch, Tensor]:
    """Training prompts, in which answers from `first_target` on are to be predicted, and their clips'
    features (num_clips, L+1, D)."""
    answers = [*case.answers, [0]]
    prompts = [case.model.prompt.encode(answers, first_target) for _ in range(preset.sequences)]
    features = torch.randn(preset.sequences * len(answers), *FEATURE_SHAPE, device=case.device)
    return case.model.batch(prompts, features), features


def step(case: PromptCase, batch: PromptBatch, features: Tensor) -> None:
    """Loss and gradients; the optimizer's share is the same for both."""
    case.model.zero_grad()
    loss = case.model.losses(batch, features)
    (loss.sum() / (loss != 0).sum()).backward()
