"""All weights that move as one vector, so that a step on hundreds of tensors is a few large kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from meta_perser.adaptation.adaptation_loss import Weights


class WeightLayout:
    """Where each tensor of some weights lies in the vector, in their order."""

    def __init__(self, weights: Weights) -> None:
        self._shapes = {name: tensor.shape for name, tensor in weights.items()}
        self.sizes = [tensor.numel() for tensor in weights.values()]
        some = next(iter(weights.values()))
        self._repeats = torch.tensor(self.sizes, device=some.device)
        self._total = sum(self.sizes)

    def flatten(self, weights: Weights) -> Tensor:
        """Return the weights as a vector (num_weights,)."""
        return torch.cat([tensor.reshape(-1) for tensor in weights.values()])

    def weights(self, vector: Tensor) -> Weights:
        """Return the weights by name, as views of the vector."""
        parts = vector.split(self.sizes)
        return {
            name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def step(self, theta: Tensor, alpha: Tensor, gradient: Tensor) -> Tensor:
        """Return theta - alpha * gradient, where alpha (num_tensors,) has a rate for each tensor.

        It can be differentiated once by all three.
        """
        return _Step.apply(self, theta, alpha, gradient)

    def expand(self, alpha: Tensor) -> Tensor:
        """Return the rate of each weight (num_weights,), from the rate of each tensor (num_tensors,)."""
        return alpha.repeat_interleave(self._repeats, output_size=self._total)

    def sums(self, vector: Tensor) -> Tensor:
        """Return the sum over each tensor's part of a vector, (num_tensors,)."""
        return torch.stack([part.sum() for part in vector.split(self.sizes)])


class _Step(torch.autograd.Function):
    """theta - alpha * gradient. Autograd alone would add up alpha's gradient weight by weight."""

    @staticmethod
    def forward(ctx: Any, layout: WeightLayout, theta: Tensor, alpha: Tensor, gradient: Tensor) -> Tensor:
        ctx.layout = layout
        ctx.save_for_backward(alpha, gradient)
        return torch.addcmul(theta, layout.expand(alpha), gradient, value=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        alpha, gradient = ctx.saved_tensors
        _, _, alpha_is_learned, is_second_order = ctx.needs_input_grad
        return (
            None,
            v,
            -ctx.layout.sums(gradient * v) if alpha_is_learned else None,
            -ctx.layout.expand(alpha) * v if is_second_order else None,
        )
