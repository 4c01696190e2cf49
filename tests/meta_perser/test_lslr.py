from __future__ import annotations

import pytest

from meta_perser.lslr import LearnedRates


def test_every_tensor_and_step_has_its_own_rate():
    rates = LearnedRates(["a", "b"], steps=3, initial=0.1)
    rates.rates.data[1, 2] = -0.5
    assert rates.at(2)["b"].item() == pytest.approx(-0.5)
    assert rates.at(2)["a"].item() == pytest.approx(0.1)
    assert rates.at(0)["b"].item() == pytest.approx(0.1)


def test_beyond_the_last_learned_step_its_rate_holds():
    rates = LearnedRates(["a"], steps=2, initial=0.1)
    rates.rates.data[0, 1] = 0.7
    assert rates.at(49)["a"].item() == pytest.approx(0.7)


def test_no_step_is_no_schedule():
    with pytest.raises(ValueError, match="steps"):
        LearnedRates(["a"], steps=0, initial=0.1)
