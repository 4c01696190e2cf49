"""Weights as one vector: there and back, and a step with its derivatives."""

from __future__ import annotations

import torch

from meta_perser.adaptation.flat_weights import WeightLayout


def make() -> tuple[WeightLayout, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    weights = {
        name: torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for name, shape in {"a": (3, 2), "b": (), "c": (4,)}.items()
    }
    return WeightLayout(weights), weights


def test_a_vector_gives_the_weights_back():
    layout, weights = make()
    back = layout.weights(layout.flatten(weights))
    assert list(back) == list(weights)
    for name, tensor in weights.items():
        assert torch.equal(back[name], tensor)


def test_a_step_moves_every_tensor_by_its_own_rate():
    layout, weights = make()
    gradients = {name: torch.randn_like(tensor) for name, tensor in weights.items()}
    rates = torch.tensor([0.1, -2.0, 0.0], dtype=torch.float64)
    moved = layout.weights(layout.step(layout.flatten(weights), rates, layout.flatten(gradients)))
    for rate, (name, tensor) in zip(rates, weights.items(), strict=True):
        torch.testing.assert_close(moved[name], tensor - rate * gradients[name])


def test_the_derivatives_of_a_step_equal_finite_differences():
    layout, weights = make()
    inputs = (
        layout.flatten(weights).detach().requires_grad_(),
        torch.randn(3, dtype=torch.float64, requires_grad=True),
        torch.randn(11, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(layout.step, inputs)


def test_sums_are_those_of_each_tensor():
    layout, weights = make()
    expected = [tensor.sum() for tensor in weights.values()]
    torch.testing.assert_close(layout.sums(layout.flatten(weights)), torch.stack(expected))
