"""The positional convolutions of wav2vec 2.0 and its relatives, by Fourier transforms.

They have 16 groups and kernels of 128 frames. cuDNN has no fast kernel for such a shape in bf16, and none for
its second derivative: a convolution took nine tenths of an adaptation step. By the convolution theorem a
transform, one small product for each frequency and group, and the inverse transform give the same, at least
five times faster on a GPU and up to twice as fast on a CPU, and can be differentiated any number of times.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perser.device import is_gpu

MIN_CPU_KERNEL = 64
"""Kernel size from which a CPU is faster by transforms."""


def grouped_convolution(convolution: nn.Conv1d, inputs: Tensor) -> Tensor:
    """Return `convolution(inputs)`: (B, channels, T) to (B, out_channels, T + 2 padding - kernel + 1).

    The stride and the dilation have to be 1, and the padding zeros, as in all positional convolutions.
    """
    assert not isinstance(convolution.padding, str)  # such as "same"
    (kernel,), (padding,) = convolution.kernel_size, convolution.padding
    if convolution.groups == 1 or not (is_gpu(inputs.device) or kernel >= MIN_CPU_KERNEL):
        return convolution(inputs)
    return fft_convolution(inputs, convolution.weight, convolution.bias, padding, convolution.groups)


def fft_convolution(inputs: Tensor, weight: Tensor, bias: Tensor | None, padding: int, groups: int) -> Tensor:
    """Return `torch.nn.functional.conv1d(inputs, weight, bias, padding=padding, groups=groups)`.

    It is computed in float32 at least, also under autocast, and returned in the dtype that the convolution
    would have.

    Args:
        inputs: (B, channels, T).
        weight: (out_channels, channels / groups, kernel).
        bias: (out_channels,).
        padding: zeros on both sides.
        groups: how many groups of channels are convolved on their own.
    """
    device_type = inputs.device.type
    is_autocast = torch.is_autocast_enabled(device_type)
    dtype = torch.get_autocast_dtype(device_type) if is_autocast else inputs.dtype
    with torch.autocast(device_type, enabled=False):
        precision = torch.promote_types(inputs.dtype, torch.float32)
        # Contiguous, because cuFFT is several times slower along an axis with a stride.
        padded = F.pad(inputs.to(precision), (padding, padding)).contiguous()
        output = _correlate(padded, weight.to(precision), groups)
        if bias is not None:
            output = output + bias.to(precision)[:, None]
    return output.to(dtype)


def _correlate(signal: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Return sum_j weight[:, :, j] signal[:, :, t + j] for every t at which the kernel is in the signal."""
    samples, kernel = signal.shape[-1], weight.shape[-1]
    length = _fast_length(samples)
    spectrum = torch.fft.rfft(signal, length).unflatten(1, (groups, -1))  # (B, groups, in, frequencies)
    response = (
        torch.fft.rfft(weight, length).unflatten(0, (groups, -1)).conj()
    )  # (groups, out, in, frequencies)
    product = spectrum.permute(1, 3, 0, 2) @ response.permute(0, 3, 2, 1)  # (groups, frequencies, B, out)
    output = torch.fft.irfft(product.permute(2, 0, 3, 1).contiguous(), length)
    # What wraps around at the end of the circle is cut off.
    return output[..., : samples - kernel + 1].flatten(1, 2)


def _fast_length(least: int) -> int:
    """Return the smallest even number from `least` on whose prime factors are 2, 3 and 5."""
    length = least + least % 2
    while _without_factors(length) != 1:
        length += 2
    return length


def _without_factors(number: int) -> int:
    for factor in (2, 3, 5):
        while number % factor == 0:
            number //= factor
    return number
