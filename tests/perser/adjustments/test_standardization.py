"""Features standardized by the corpus that is measured, or by a person's enrolled clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from perser.encoders.moments import blended_moments
from perser.errors import UserError
from perser.installed_routes import check_method, parse_method


def clips(count, seed=0, windows=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (windows, 3, 5) if windows else (3, 5)
    return [2 + 3 * torch.randn(*shape, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("windows", [0, 4])
def test_alone_the_moments_are_those_of_the_clips(windows):
    own = clips(40, windows=windows)
    mean, std = blended_moments(own, torch.zeros(3, 5), torch.ones(3, 5), prior_clips=0.0)
    rows = np.concatenate([clip.numpy().reshape(-1, 3, 5) for clip in own]).astype(np.float64)
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(std, rows.std(axis=0), rtol=1e-5)


def test_the_models_own_count_as_much_as_so_many_clips():
    """Known by hand: two clips at 4 and 6 and two that count at mean 1, deviation 2."""
    found = [torch.full((1, 1), value) for value in (4.0, 6.0)]
    mean, std = blended_moments(found, torch.ones(1, 1), torch.full((1, 1), 2.0), prior_clips=2.0)
    assert mean.item() == pytest.approx((5 + 1) / 2)
    assert std.item() == pytest.approx(np.sqrt((1 + 4) / 2))


def test_without_clips_or_with_a_constant_feature_the_models_own_stay():
    own = torch.full((1, 2), 3.0), torch.full((1, 2), 2.0)
    for mean, std in (blended_moments([], *own, 8.0), blended_moments([torch.zeros(1, 2)], *own, 0.0)):
        assert torch.equal(std, own[1])
        assert mean.shape == (1, 2)


def test_the_name_of_a_method_says_by_what():
    assert parse_method("meta-perser").standardize == "model"
    parsed = parse_method("speech-lm-8+standardize=enrolled+prior-shift")
    assert (parsed.standardize, parsed.recalibration, parsed.options) == ("enrolled", "prior-shift", ())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("meta-perser+standardize=speaker", "one of model, corpus, enrolled"),
        ("meta-perser+standardize=corpus+standardize=model", "once"),
        ("random+standardize=corpus", "random has no model"),
    ],
)
def test_a_wrong_standardization_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        check_method(name, k=8)
