"""Memory counted from shapes is what the same step takes with real tensors."""

from __future__ import annotations

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.maml.case import RATE, loss, make_case
from benchmarks.speed.maml.counted_memory import COUNTED_STEPS, count_step, fake_batch
from benchmarks.speed.maml.presets import TINY
from meta_perser.adaptation.lslr import LearnedRates
from meta_perser.adaptation.step_schedule import StepSchedule
from meta_perser.training.outer_loop import MetaLearner


def measured_peak(clips, clips_at_once, precision):
    """Return the most bytes that torch's allocator had given out at once, as its profiler records them."""
    case = make_case(TINY, clips, "cpu", precision)
    batch = fake_batch(case)  # outside of fake tensors' mode these are real zeros
    rates = LearnedRates(list(case.model.trainable_parameters()), COUNTED_STEPS, RATE)
    learner = MetaLearner(case.model, rates, loss, "adjoint", clips_at_once=clips_at_once)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as recorded:
        with case.autocast():
            outer = learner(StepSchedule.plain(COUNTED_STEPS), 1.0, (batch, case.targets))
        torch.autograd.grad(outer, [*case.moving, *rates.parameters()])
    now = peak = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


@pytest.mark.parametrize(("clips", "clips_at_once"), [(2, None), (4, None), (4, 2)])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_counted_memory_is_what_the_step_takes(clips, clips_at_once, precision):
    counted = count_step(TINY, clips, COUNTED_STEPS, precision, "adjoint", clips_at_once)
    assert counted.graph == pytest.approx(measured_peak(clips, clips_at_once, precision), rel=0.15)


def test_further_steps_keep_their_weights_on_the_gpu_or_not():
    few, many = (count_step(TINY, 2, steps, "float32", "adjoint", None) for steps in (2, 50))
    weights = sum(weight.nbytes for weight in make_case(TINY, 2, "cpu").moving)
    assert many.total - few.total == 48 * weights
    assert count_step(TINY, 2, 50, "float32", "adjoint_host", None).total == few.total
