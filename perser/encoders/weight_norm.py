"""Weight normalization that can be differentiated twice."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize


class ExactWeightNorm(nn.Module):
    """weight = g v / |v|, the norm taken over all axes but `dim` (Salimans & Kingma 2016, eq. 2),
    or over all of them where `dim` is -1, as in torch.

    Equal to `torch.nn.utils.parametrizations.weight_norm`, whose fused kernel (along the first or last
    axis) takes |v| for a constant in its second derivative: no error, but gradgradcheck fails, and the
    second-order gradient of the positional convolutions of wav2vec 2.0, HuBERT and WavLM is wrong.
    Has no inverse, so that assigning to `.weight` raises instead of overwriting g and v unseen.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, magnitude: Tensor, direction: Tensor) -> Tensor:
        axes = [axis for axis in range(direction.ndim) if axis != self.dim]
        return direction * (magnitude / torch.linalg.vector_norm(direction, dim=axes, keepdim=True))


def use_exact_weight_norm(model: nn.Module) -> None:
    """Puts ExactWeightNorm wherever the model's weights are normalized by torch's; parameters keep their
    names and values."""
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            steps = module.parametrizations.weight
            for index, step in enumerate(steps):
                if isinstance(step, parametrizations._WeightNorm):
                    steps[index] = ExactWeightNorm(step.dim)
