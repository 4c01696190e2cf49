from __future__ import annotations

import pytest

from meta_perser.adaptation.step_schedule import second_order_steps
from meta_perser.options import AnnealingOptions


@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_off_is_second_order_throughout(progress):
    assert second_order_steps(AnnealingOptions(), 4, progress) == (True,) * 4


@pytest.mark.parametrize(("steps", "first_order"), [(10, 3), (5, 2), (50, 15), (1, 0)])
def test_the_first_share_of_inner_steps_is_first_order(steps, first_order):
    orders = second_order_steps(AnnealingOptions(by="inner_steps"), steps, progress=0.9)
    assert orders == (False,) * first_order + (True,) * (steps - first_order)


def test_the_first_share_of_training_is_first_order():
    by_training = AnnealingOptions(by="training", share=0.3)
    assert [second_order_steps(by_training, 2, i / 10) for i in (0, 2)] == [(False, False)] * 2
    assert [second_order_steps(by_training, 2, i / 10) for i in (3, 9)] == [(True, True)] * 2
