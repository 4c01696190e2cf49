"""Compare the convolution by Fourier transforms, and its derivatives, with torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from perser.encoders.grouped_convolution import MIN_CPU_KERNEL, fft_convolution, grouped_convolution


@given(
    batch=st.integers(1, 3),
    groups=st.integers(1, 3),
    channels=st.integers(1, 3),
    outputs=st.integers(1, 3),
    frames=st.integers(1, 40),
    kernel=st.integers(1, 12),
    has_bias=st.booleans(),
)
def test_the_values_are_those_of_a_convolution(batch, groups, channels, outputs, frames, kernel, has_bias):
    signal = torch.randn(batch, groups * channels, frames, dtype=torch.float64)
    weight = torch.randn(groups * outputs, channels, kernel, dtype=torch.float64)
    bias = torch.randn(groups * outputs, dtype=torch.float64) if has_bias else None
    expected = F.conv1d(signal, weight, bias, padding=kernel // 2, groups=groups)
    torch.testing.assert_close(fft_convolution(signal, weight, bias, kernel // 2, groups), expected)


def test_first_and_second_derivatives_are_those_of_a_convolution():
    signal, weight, bias = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 6, 9), (4, 3, 4), (4,))
    )
    inputs = (signal, weight, bias)
    derivatives = []
    for convolve in (lambda *tensors: fft_convolution(*tensors, 2, 2), _direct):
        first = torch.autograd.grad(convolve(*inputs).pow(3).sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(tensor.pow(2).sum() for tensor in first), inputs)
        derivatives.append([*first, *second])
    torch.testing.assert_close(derivatives[0], derivatives[1])


def _direct(signal, weight, bias):
    return F.conv1d(signal, weight, bias, padding=2, groups=2)


def test_strided_inputs_are_taken():
    signal = torch.randn(2, 9, 6, dtype=torch.float64).transpose(1, 2)
    weight = torch.randn(4, 3, 4, dtype=torch.float64)
    expected = F.conv1d(signal, weight, padding=2, groups=2)
    torch.testing.assert_close(fft_convolution(signal, weight, None, 2, 2), expected)


def test_under_autocast_the_result_has_its_dtype_and_float32_precision():
    signal, weight = torch.randn(2, 6, 50), torch.randn(4, 3, 16)
    expected = F.conv1d(signal, weight, padding=8, groups=2)
    with torch.autocast("cpu", torch.bfloat16):
        result = fft_convolution(signal, weight, None, 8, 2)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result, expected.bfloat16(), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("kernel", [3, MIN_CPU_KERNEL])
def test_small_and_large_kernels_give_the_module_s_own_output(kernel):
    convolution = torch.nn.Conv1d(8, 8, kernel, padding=kernel // 2, groups=2)
    signal = torch.randn(2, 8, 30)
    torch.testing.assert_close(grouped_convolution(convolution, signal), convolution(signal))
