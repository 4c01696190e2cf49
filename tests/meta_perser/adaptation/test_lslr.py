"""Learned rates: granularity, sign, steps beyond the learned ones, and the constant rate."""

from __future__ import annotations

import math

import pytest
import torch

from meta_perser.adaptation.lslr import LearnedRates, make_rates, saved_rates
from meta_perser.options import LslrOptions
from perser.errors import UserError

NAMES = ["a.weight", "a.bias", "b.parametrizations.weight.original0", "b.bias", "logits"]


def alpha(rates, step, name):
    """Return the rate of a tensor at a step, counted from 0."""
    return rates.table(step + 1)[step, rates.names.index(name)]


def test_every_tensor_and_step_has_its_own_rate():
    rates = LearnedRates(["a", "b"], steps=3, initial=0.1)
    rates.rates.data[1, 2] = -1.5
    assert alpha(rates, 2, "b").item() == pytest.approx(-0.05)
    assert alpha(rates, 2, "a").item() == pytest.approx(0.1)
    assert alpha(rates, 0, "b").item() == pytest.approx(0.1)


def test_with_module_granularity_the_tensors_of_a_module_share_a_rate():
    rates = LearnedRates(NAMES, 2, 0.1, LslrOptions(granularity="module", relative=False))
    assert rates.layers == ["a", "b", ""]
    rates.rates.data.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert rates.table(2)[1].tolist() == [2, 2, 4, 4, 6]


@pytest.mark.parametrize("initial", [0.0003, 0.03])
def test_an_outer_step_moves_every_start_by_the_same_share(initial):
    rates = LearnedRates(["a"], 1, initial)
    optimizer = torch.optim.Adam(rates.parameters(), lr=0.1)
    (1000 * rates.table(1).sum()).backward()  # not so small that Adam's epsilon shows
    optimizer.step()
    assert alpha(rates, 0, "a").item() == pytest.approx(0.9 * initial)


@pytest.mark.parametrize(("beyond", "expected"), [("last", 0.7), ("mean", 0.4), ("initial", 0.1)])
@pytest.mark.parametrize("step", [2, 49])
def test_steps_beyond_the_last_learned_one_take_the_rate_of_the_option(beyond, expected, step):
    rates = LearnedRates(["a"], 2, 0.1, LslrOptions(beyond=beyond))
    rates.rates.data[0, 1] = 6.0
    assert alpha(rates, step, "a").item() == pytest.approx(expected)
    assert alpha(rates, 1, "a").item() == pytest.approx(0.7)


def test_a_positive_rate_starts_at_the_initial_one_and_stays_positive():
    rates = LearnedRates(["a"], 2, 0.3, LslrOptions(sign="positive", beyond="mean"))
    assert alpha(rates, 0, "a") == rates.initial
    optimizer = torch.optim.SGD(rates.parameters(), lr=10.0)
    alpha(rates, 0, "a").backward()  # downhill is toward smaller rates
    optimizer.step()
    assert 0 < alpha(rates, 0, "a").item() < 0.3
    assert alpha(rates, 1, "a") == rates.initial
    assert alpha(rates, 9, "a").item() == pytest.approx((alpha(rates, 0, "a").item() + 0.3) / 2)


def test_a_schedule_is_a_power_of_the_step_and_is_not_used_beyond_its_steps():
    rates = LearnedRates(NAMES, 50, 0.1, LslrOptions(granularity="schedule"))
    assert torch.equal(rates.table(50), torch.full((50, 5), 0.1))
    rates.rates.data[3] = torch.tensor([0.5, -0.7])
    steps = torch.arange(1, 51)
    torch.testing.assert_close(rates.table(50)[:, 3], 0.1 * math.exp(0.5) * steps**-0.7)
    assert torch.equal(rates.table(20), rates.table(50)[:20])
    with pytest.raises(UserError, match="trained with 50 steps and does not go beyond them"):
        rates.table(51)


def test_a_schedule_by_module_has_two_numbers_for_each():
    rates = LearnedRates(NAMES, 50, 0.1, LslrOptions(granularity="module_schedule"))
    assert rates.rates.shape == (3, 2)


def test_tensors_may_start_at_rates_of_their_own_and_at_none():
    own = {"a.weight": 0.0, "a.bias": 0.0, NAMES[2]: 0.2, "b.bias": 0.2, "logits": 0.4}
    for granularity in ("tensor", "module", "schedule", "module_schedule", "off"):
        rates = make_rates(NAMES, 3, own, LslrOptions(granularity=granularity))
        for parameter in rates.parameters():
            parameter.data.normal_()
        assert not rates.table(3)[:, :2].any()
        assert rates.table(3)[:, 2:].all()
        again = saved_rates(NAMES, 3, LslrOptions(granularity=granularity), rates.state_dict())
        assert torch.equal(again.table(3), rates.table(3))


def test_granularity_off_is_one_rate_that_is_not_learned():
    rates = make_rates(NAMES, 3, 0.2, LslrOptions(granularity="off"))
    assert not list(rates.parameters())
    assert rates.table(8)[7].tolist() == pytest.approx([0.2] * 5)


def test_learned_rates_need_at_least_one_step():
    with pytest.raises(ValueError, match="steps"):
        LearnedRates(["a"], steps=0, initial=0.1)


def test_a_positive_rate_cannot_start_below_zero():
    with pytest.raises(ValueError, match=r"inner\.rate.*lslr\.sign"):
        LearnedRates(["a"], 2, -0.1, LslrOptions(sign="positive"))
