"""The norm that projectors share."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from speechlm_icl.projectors.blocks import RMSNorm


def test_the_norm_of_bf16_is_computed_in_its_weights_precision_without_a_warning():
    inputs = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    norm, plain = RMSNorm(8, eps=1e-6), nn.RMSNorm(8, eps=1e-6)
    assert torch.equal(norm(inputs), plain(inputs))
    half = inputs.to(torch.bfloat16)
    with warnings.catch_warnings(), torch.autocast("cpu", torch.bfloat16):
        warnings.simplefilter("error")
        normed = norm(half)
    assert normed.dtype == torch.bfloat16
    torch.testing.assert_close(normed, plain(half.float()).to(torch.bfloat16), atol=0, rtol=0)
