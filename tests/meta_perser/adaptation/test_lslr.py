"""Learned rates: granularity, sign, steps beyond the learned ones, and the constant rate."""

from __future__ import annotations

import pytest
import torch

from meta_perser.adaptation.lslr import ConstantRate, LearnedRates, make_rates
from meta_perser.options import LslrOptions

NAMES = ["a.weight", "a.bias", "b.parametrizations.weight.original0", "b.bias", "logits"]


def test_every_tensor_and_step_has_its_own_rate():
    rates = LearnedRates(["a", "b"], steps=3, initial=0.1)
    rates.rates.data[1, 2] = -0.5
    assert rates.at(2)["b"].item() == pytest.approx(-0.5)
    assert rates.at(2)["a"].item() == pytest.approx(0.1)
    assert rates.at(0)["b"].item() == pytest.approx(0.1)


def test_with_module_granularity_the_tensors_of_a_module_share_a_rate():
    rates = LearnedRates(NAMES, 2, 0.1, LslrOptions(granularity="module"))
    assert rates.layers == ["a", "b", ""]
    rates.rates.data.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert [rate.item() for rate in rates.at(1).values()] == [2, 2, 4, 4, 6]


@pytest.mark.parametrize(("beyond", "expected"), [("last", 0.7), ("mean", 0.4), ("initial", 0.1)])
@pytest.mark.parametrize("step", [2, 49])
def test_steps_beyond_the_last_learned_one_take_the_rate_of_the_option(beyond, expected, step):
    rates = LearnedRates(["a"], 2, 0.1, LslrOptions(beyond=beyond))
    rates.rates.data[0, 1] = 0.7
    assert rates.at(step)["a"].item() == pytest.approx(expected)
    assert rates.at(1)["a"].item() == pytest.approx(0.7)


def test_a_positive_rate_starts_at_the_initial_one_and_stays_positive():
    rates = LearnedRates(["a"], 2, 0.3, LslrOptions(sign="positive", beyond="mean"))
    assert rates.at(0)["a"] == rates.initial
    optimizer = torch.optim.SGD(rates.parameters(), lr=10.0)
    rates.at(0)["a"].backward()  # downhill is toward smaller rates
    optimizer.step()
    assert 0 < rates.at(0)["a"].item() < 0.3
    assert rates.at(1)["a"] == rates.initial
    assert rates.at(9)["a"].item() == pytest.approx((rates.at(0)["a"].item() + 0.3) / 2)


def test_the_table_holds_the_rates_of_every_step():
    for rates in (LearnedRates(NAMES, 2, 0.1), ConstantRate(NAMES, 0.2)):
        for parameter in rates.parameters():
            parameter.data.normal_()
        table = rates.table(4)
        assert table.shape == (4, 5)
        for step in range(4):
            torch.testing.assert_close(table[step], torch.stack(list(rates.at(step).values())))


def test_granularity_off_is_one_rate_that_is_not_learned():
    rates = make_rates(NAMES, 3, 0.2, LslrOptions(granularity="off"))
    assert not list(rates.parameters())
    assert [rate.item() for rate in rates.at(7).values()] == pytest.approx([0.2] * 5)


def test_learned_rates_need_at_least_one_step():
    with pytest.raises(ValueError, match="steps"):
        LearnedRates(["a"], steps=0, initial=0.1)


def test_a_positive_rate_cannot_start_below_zero():
    with pytest.raises(ValueError, match=r"inner\.rate.*lslr\.sign"):
        LearnedRates(["a"], 2, -0.1, LslrOptions(sign="positive"))
