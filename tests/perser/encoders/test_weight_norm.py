"""Compare weight normalization with torch's own, and its derivatives with finite differences."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.parametrizations import weight_norm

from perser.encoders.weight_norm import ExactWeightNorm, use_exact_weight_norm


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_the_convolution_and_its_parameter_names_stay_the_same(dim):
    convolution = weight_norm(torch.nn.Conv1d(4, 6, 3, groups=2), dim=dim)
    names = [name for name, _ in convolution.named_parameters()]
    with torch.no_grad():
        for parameter in convolution.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        clip = torch.randn(1, 4, 9)
        expected = convolution(clip)
        use_exact_weight_norm(torch.nn.Sequential(convolution))
        torch.testing.assert_close(convolution(clip), expected)
    assert isinstance(convolution.parametrizations.weight[0], ExactWeightNorm)
    assert [name for name, _ in convolution.named_parameters()] == names


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_both_derivatives_are_right(dim):
    shape = [size if axis == dim else 1 for axis, size in enumerate((3, 2, 4))]
    direction = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    magnitude = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    norm = ExactWeightNorm(dim)
    assert torch.autograd.gradcheck(norm, (magnitude, direction))
    assert torch.autograd.gradgradcheck(norm, (magnitude, direction))


def test_assigning_the_weight_is_an_error():
    convolution = weight_norm(torch.nn.Conv1d(4, 6, 3))
    use_exact_weight_norm(convolution)
    with pytest.raises(RuntimeError, match="right_inverse"):
        convolution.weight = torch.zeros(6, 4, 3)
