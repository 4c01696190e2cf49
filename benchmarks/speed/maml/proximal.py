"""Compare two ways to personalize a head, both ours and both from encoded clips: gradient steps, and the
proximal solver."""

from __future__ import annotations

import torch

from benchmarks.speed.maml import ours
from benchmarks.speed.maml.case import MamlCase
from benchmarks.speed.maml.presets import MamlPreset
from benchmarks.speed.timing.comparison import Row, Timing
from benchmarks.speed.timing.operations import run_and_count
from benchmarks.speed.timing.rounds import time_in_rounds
from meta_perser.adaptation.adaptation_loss import Weights
from meta_perser.adaptation.proximal.head import AdaptedHead, features_and_logits
from meta_perser.adaptation.proximal.strengths import Strengths

RATIO = "head_steps_vs_proximal"

LESS_HELD = 100.0
"""By how much weight and scale are held less than at the start of meta-training. They then move as much as
after it, and the solver needs more steps of its own."""


def compare_with_proximal(case: MamlCase, preset: MamlPreset) -> Timing:
    """Time all gradient steps of a head's adaptation beside the proximal solver, in rounds."""
    batch = ours.encode_anew(case)
    with torch.no_grad():
        start = Strengths.like_prior_shift(1.0, *features_and_logits(case.model, batch))
        strengths = Strengths(start() / torch.tensor([LESS_HELD, 1.0, LESS_HELD]).to(start()))
    strengths.to(case.device)

    @torch.no_grad()
    def solve() -> list[Weights]:
        with case.autocast():
            return AdaptedHead.fit(case.model, strengths, batch, case.targets).weights(case.model)

    runs = {"steps": lambda: ours.adapted_weights(case, batch, preset.adapt_steps), "proximal": solve}
    counts = {name: run_and_count(run)[1] for name, run in runs.items()}
    taken = time_in_rounds(runs, preset.repeats, case.device)
    steps = Row(f"ours, {preset.adapt_steps} gradient steps", taken["steps"], counts["steps"])
    own = Row("ours, proximal solver", taken["proximal"], max(counts["proximal"], 1))
    title = f"a head from encoded clips, K = {len(case.waveforms)}, {case.precision}"
    return Timing(title, [steps, own], own, [], {RATIO: steps.seconds / own.seconds}, {})
