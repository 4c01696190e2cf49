"""A training step on the same sequences: a loss on every label, and one on the last label alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.speed.comparison import Row, Timing
from benchmarks.speed.measure import by_turns
from benchmarks.speed.operations import operations
from benchmarks.speed.prompt_case import FEATURE_SHAPE, PromptCase
from benchmarks.speed.prompt_presets import PromptPreset
from speechlm_icl.prompt import IGNORE, PromptBatch

EVERY, LAST = "a loss on every label", "a loss on the last label"


def compare_labels(case: PromptCase, preset: PromptPreset) -> Timing:
    """Seconds and operations of one supervised label. The language model is frozen but for its adapter."""
    batch, features = sequences(case, preset)
    last = last_label_alone(batch, case)
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


def sequences(case: PromptCase, preset: PromptPreset) -> tuple[PromptBatch, Tensor]:
    """Training prompts and their clips' features (num_clips, L+1, D)."""
    answers = [*case.answers, [0]]
    prompts = [case.model.prompt.encode(answers) for _ in range(preset.sequences)]
    features = torch.randn(preset.sequences * len(answers), *FEATURE_SHAPE, device=case.device)
    return case.model.batch(prompts, features), features


def last_label_alone(batch: PromptBatch, case: PromptCase) -> PromptBatch:
    """The same prompts, with nothing to be predicted but the last clip's answer."""
    clips = torch.where(batch.clips < 0, -1, batch.clips).cummax(dim=1).values
    last = clips == clips.max(dim=1, keepdim=True).values
    return replace(batch, targets=torch.where(last, batch.targets, IGNORE))


def step(case: PromptCase, batch: PromptBatch, features: Tensor) -> None:
    """Loss and gradients; the optimiser's share is the same for both."""
    case.model.zero_grad()
    loss = case.model.losses(batch, features)
    (loss.sum() / (loss != 0).sum()).backward()
