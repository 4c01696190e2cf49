"""Weight normalization whose second derivative is right.

A file of its own, because it is independent of everything else here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize


class ExactWeightNorm(nn.Module):
    """weight = g v / |v| (Salimans & Kingma 2016, eq. 2), the norm taken over all axes but `dim`.

    If `dim` is -1, the norm is taken over all axes, as in torch. The values equal those of
    `torch.nn.utils.parametrizations.weight_norm`. But torch's fused kernel (along the first or last axis)
    treats |v| as constant in its second derivative: it raises no error, but gradgradcheck fails, and the
    second-order gradient of the positional convolutions of wav2vec 2.0, HuBERT and WavLM is wrong. There is
    no inverse, so that assigning to `.weight` raises an error instead of silently overwriting g and v.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, magnitude: Tensor, direction: Tensor) -> Tensor:
        axes = [axis for axis in range(direction.ndim) if axis != self.dim]
        return direction * (magnitude / torch.linalg.vector_norm(direction, dim=axes, keepdim=True))


def use_exact_weight_norm(model: nn.Module) -> None:
    """Replace torch's weight norm by ExactWeightNorm in a model. Parameters keep their names and values."""
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            steps = module.get_submodule("parametrizations.weight")
            assert isinstance(steps, nn.ModuleList)
            for index, step in enumerate(steps):
                if isinstance(step, parametrizations._WeightNorm):
                    steps[index] = ExactWeightNorm(step.dim)
