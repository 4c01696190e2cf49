from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call

from meta_perser.inner_loop import adapt, inner_loop
from meta_perser.lslr import ConstantRate, LearnedRates
from perser.losses import class_balanced_cross_entropy


class Toy(nn.Module):
    """A tiny non-linear model in float64, with the two methods that the loops use."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()

    def forward(self, batch):
        return self.layers(batch)

    def moving_parameters(self):
        return dict(self.named_parameters())


@pytest.fixture
def toy():
    model = Toy()
    batch = torch.randn(6, 3, dtype=torch.float64)
    targets = torch.randn(6, 3, dtype=torch.float64).softmax(dim=-1)
    return model, batch, targets


def outer_loss(model, weights, rates, batch, targets, steps, second_order):
    adapted = inner_loop(
        model, weights, rates, batch, targets, class_balanced_cross_entropy, steps, second_order
    )
    return class_balanced_cross_entropy(functional_call(model, adapted, (batch,)), targets)


def test_second_order_gradients_agree_with_finite_differences_for_weights_and_rates(toy):
    model, batch, targets = toy
    weights = model.moving_parameters()
    names = list(weights)
    rates = LearnedRates(names, steps=3, initial=0.3).double()

    def loss(rate_values, *tensors):
        replaced = LearnedRates(names, steps=3, initial=0.0).double()
        del replaced.rates
        replaced.rates = rate_values
        started = dict(zip(names, tensors, strict=True))
        return outer_loss(model, started, replaced, batch, targets, 3, second_order=True)

    inputs = (rates.rates.detach().requires_grad_(), *(w.detach().requires_grad_() for w in weights.values()))
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-7, rtol=1e-5)


def test_first_order_takes_inner_gradients_as_constants(toy):
    model, batch, targets = toy
    weights = model.moving_parameters()
    rates = ConstantRate(list(weights), 0.3).double()
    loss = outer_loss(model, dict(weights), rates, batch, targets, 2, second_order=False)
    first = torch.autograd.grad(loss, list(weights.values()))
    adapted = inner_loop(model, dict(weights), rates, batch, targets, class_balanced_cross_entropy, 2, False)
    leaves = {name: one.detach().requires_grad_() for name, one in adapted.items()}
    expected = torch.autograd.grad(
        class_balanced_cross_entropy(functional_call(model, leaves, (batch,)), targets),
        list(leaves.values()),
    )
    for got, wanted in zip(first, expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_a_step_is_plain_gradient_descent(toy):
    model, batch, targets = toy
    weights = {name: one.detach().clone() for name, one in model.moving_parameters().items()}
    rates = ConstantRate(list(weights), 0.1).double()
    adapted = adapt(model, rates, batch, targets, class_balanced_cross_entropy, steps=7)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(7):
        optimizer.zero_grad()
        class_balanced_cross_entropy(model(batch), targets).backward()
        optimizer.step()
    for name, one in model.named_parameters():
        torch.testing.assert_close(adapted[name], one.detach())


def test_adapting_leaves_the_model_as_it_was(toy):
    model, batch, targets = toy
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    adapt(model, ConstantRate(list(before), 0.5), batch, targets, class_balanced_cross_entropy, steps=3)
    assert all(torch.equal(one, before[name]) for name, one in model.named_parameters())
    assert all(one.grad is None for one in model.parameters())


def test_adapt_and_inner_loop_agree(toy):
    model, batch, targets = toy
    rates = LearnedRates(list(model.moving_parameters()), steps=2, initial=0.2).double()
    loop = inner_loop(
        model, dict(model.moving_parameters()), rates, batch, targets, class_balanced_cross_entropy, 4, True
    )
    adapted = adapt(model, rates, batch, targets, class_balanced_cross_entropy, 4)
    for name, one in adapted.items():
        torch.testing.assert_close(one, loop[name].detach())


@pytest.mark.parametrize("rate", [1e30, 1e300])
def test_a_step_that_diverges_is_not_taken(toy, rate):
    model, batch, targets = toy
    rates = ConstantRate(list(model.moving_parameters()), 0.1).double()
    rates.rate.fill_(rate)
    adapted = adapt(model, rates, batch, targets, class_balanced_cross_entropy, 5)
    logits = functional_call(model, adapted, (batch,))
    assert class_balanced_cross_entropy(logits, targets).isfinite()
