"""The order of each inner step (derivative annealing) and the weight of its loss (multi-step loss)."""

from __future__ import annotations

import numpy as np
import pytest

from meta_perser.adaptation.step_schedule import (
    StepSchedule,
    describe_annealing,
    first_order_steps,
    multi_step_weights,
    second_order_steps,
)
from meta_perser.options import AnnealingOptions, MultiStepOptions


def test_a_schedule_with_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="2 orders but 1 loss weights"):
        StepSchedule((True, True), (0.0,))


@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_without_annealing_every_step_is_second_order(progress):
    assert second_order_steps(AnnealingOptions(by="off"), 4, progress) == (True,) * 4


@pytest.mark.parametrize(("steps", "first_order"), [(10, 3), (5, 1), (50, 15), (3, 1), (1, 0)])
def test_the_first_share_of_inner_steps_is_first_order(steps, first_order):
    orders = second_order_steps(AnnealingOptions(by="inner_steps"), steps, progress=0.9)
    assert orders == (False,) * first_order + (True,) * (steps - first_order)


@pytest.mark.parametrize(
    ("share", "steps", "first_order"), [(0.5, 5, 2), (0.7, 5, 3), (0.0, 5, 0), (1.0, 5, 5)]
)
def test_a_half_step_is_rounded_down(share, steps, first_order):
    assert first_order_steps(share, steps) == first_order


def test_reports_say_how_many_steps_are_of_first_order():
    assert describe_annealing(AnnealingOptions(), 5, 100) == "1 of 5 inner steps first order"
    by_training = AnnealingOptions(by="training", share=0.3)
    described = describe_annealing(by_training, 5, 100)
    assert described == "30 of 100 iterations first order"
    assert sum(not second_order_steps(by_training, 5, step / 100)[0] for step in range(100)) == 30
    assert describe_annealing(AnnealingOptions(by="off"), 5, 100) == "off"


def test_the_first_share_of_training_is_first_order():
    by_training = AnnealingOptions(by="training", share=0.3)
    assert [second_order_steps(by_training, 2, i / 10) for i in (0, 2)] == [(False, False)] * 2
    assert [second_order_steps(by_training, 2, i / 10) for i in (3, 9)] == [(True, True)] * 2


def maml_plus_plus_weights(steps, epochs, epoch):
    """`get_per_step_loss_importance_vector` of MAML++'s published code, line for line."""
    weights = np.ones(steps) / steps
    decay = 1.0 / steps / epochs
    smallest = 0.03 / steps
    for i in range(steps - 1):
        weights[i] = np.maximum(weights[i] - epoch * decay, smallest)
    weights[-1] = np.minimum(weights[-1] + epoch * (steps - 1) * decay, 1.0 - (steps - 1) * smallest)
    return weights


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("epochs", [1, 10, 100])
def test_multi_step_weights_are_those_of_maml_plus_plus(steps, epochs):
    options = MultiStepOptions(enabled=True, epochs=epochs)
    for epoch in range(epochs):
        weights = multi_step_weights(options, steps, epoch)
        np.testing.assert_allclose(weights, maml_plus_plus_weights(steps, epochs, epoch), rtol=1e-12)
        assert sum(weights) == pytest.approx(1)


def test_after_its_epochs_or_when_off_only_the_last_step_counts():
    options = MultiStepOptions(enabled=True, epochs=3)
    assert multi_step_weights(options, 4, 3) == (0, 0, 0, 1)
    assert multi_step_weights(MultiStepOptions(), 4, 0) == (0, 0, 0, 1)
