"""The inner loop: outer gradients against other ways to compute them, and adaptation at test time."""

from __future__ import annotations

import itertools
import weakref

import higher
import pytest
import torch
from torch import nn
from torch.func import functional_call

from meta_perser.adaptation import inner_loop as inner_loop_module
from meta_perser.adaptation.adaptation_loss import loss_on
from meta_perser.adaptation.inner_loop import adapt, inner_loop
from meta_perser.adaptation.lslr import ConstantRate, LearnedRates
from meta_perser.adaptation.step_schedule import StepSchedule
from perser.losses import class_balanced_cross_entropy


class Toy(nn.Module):
    """A tiny non-linear model in float64, with the two methods that the loops use."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()

    def forward(self, batch):
        return self.layers(batch)

    def trainable_parameters(self):
        return dict(self.named_parameters())


@pytest.fixture
def toy():
    model = Toy()
    batch = torch.randn(6, 3, dtype=torch.float64)
    targets = torch.randn(6, 3, dtype=torch.float64).softmax(dim=-1)
    return model, batch, targets


MEMORIES = ("unroll", "adjoint")


def query_loss(model):
    """Return the loss on further examples, those of a query."""
    generator = torch.Generator().manual_seed(5)
    batch = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    targets = torch.randn(4, 3, dtype=torch.float64, generator=generator).softmax(dim=-1)
    return loss_on(model, class_balanced_cross_entropy, batch, targets)


def uneven_rates(steps, count):
    """Return rates (steps, count) that all differ, one of them negative."""
    rates = torch.linspace(0.1, 0.6, steps * count, dtype=torch.float64).view(steps, count)
    rates[0, 1] = -0.2
    return rates.requires_grad_()


def outer_gradients(model, loss, schedule, outer_loss, memory):
    """Return the outer gradients of the weights and the rates."""
    rates = uneven_rates(len(schedule.second_order), len(list(model.parameters())))
    theta = dict(model.trainable_parameters())
    adapted, multi_step_loss = inner_loop(loss, theta, rates, schedule, outer_loss, memory)
    outer = multi_step_loss + (outer_loss or loss)(adapted)
    return torch.autograd.grad(outer, [*model.parameters(), rates])


@pytest.mark.parametrize("with_query", [False, True])
@pytest.mark.parametrize("step_loss_weights", [(0.0, 0.0, 0.0), (0.0, 0.3, 0.2), (0.5, 0.3, 0.2)])
@pytest.mark.parametrize("orders", list(itertools.product([False, True], repeat=3)))
def test_the_adjoint_gives_the_outer_gradients_of_the_unrolled_loop(
    toy, orders, step_loss_weights, with_query
):
    model, batch, targets = toy
    loss = loss_on(model, class_balanced_cross_entropy, batch, targets)
    schedule = StepSchedule(orders, step_loss_weights)
    outer_loss = query_loss(model) if with_query else None
    unrolled = outer_gradients(model, loss, schedule, outer_loss, "unroll")
    by_adjoint = outer_gradients(model, loss, schedule, outer_loss, "adjoint")
    for got, wanted in zip(by_adjoint, unrolled, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("with_query", [False, True])
@pytest.mark.parametrize("memory", MEMORIES)
def test_second_order_gradients_agree_with_finite_differences_for_weights_and_rates(toy, memory, with_query):
    model, batch, targets = toy
    loss = loss_on(model, class_balanced_cross_entropy, batch, targets)
    outer_loss = query_loss(model) if with_query else None
    names = list(model.trainable_parameters())
    schedule = StepSchedule((True,) * 3, (0.0, 0.3, 0.2))

    def outer(rates, *tensors):
        theta = dict(zip(names, tensors, strict=True))
        adapted, multi_step_loss = inner_loop(loss, theta, rates, schedule, outer_loss, memory)
        return multi_step_loss + (outer_loss or loss)(adapted)

    tensors = [
        parameter.detach().clone().requires_grad_() for parameter in model.trainable_parameters().values()
    ]
    inputs = (uneven_rates(3, len(names)), *tensors)
    assert torch.autograd.gradcheck(outer, inputs, eps=1e-6, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("memory", MEMORIES)
def test_outer_gradients_are_those_of_the_library_higher(toy, memory):
    """Of weights and rates; `higher` unrolls torch's own SGD."""
    model, batch, targets = toy
    loss = loss_on(model, class_balanced_cross_entropy, batch, targets)
    ours = outer_gradients(model, loss, StepSchedule.plain(3), None, memory)
    rates = uneven_rates(3, len(list(model.parameters())))
    groups = [{"params": [parameter]} for parameter in model.parameters()]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    with higher.innerloop_ctx(model, optimizer, copy_initial_weights=False) as (fast, steps):
        for rate in rates:
            value = class_balanced_cross_entropy(fast(batch), targets)
            steps.step(value, override={"lr": list(rate.unbind())})
        outer = class_balanced_cross_entropy(fast(batch), targets)
        theirs = torch.autograd.grad(outer, [*model.parameters(), rates])
    for got, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_first_order_step_treats_inner_gradients_as_constants(toy, memory):
    model, batch, targets = toy
    loss = loss_on(model, class_balanced_cross_entropy, batch, targets)
    weights = dict(model.trainable_parameters())
    rates = torch.full((2, len(weights)), 0.3, dtype=torch.float64)
    adapted, _ = inner_loop(loss, weights, rates, StepSchedule.plain(2, second_order=False), memory=memory)
    first = torch.autograd.grad(loss(adapted), list(weights.values()))
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in adapted.items()}
    expected = torch.autograd.grad(loss(leaves), list(leaves.values()))
    for got, wanted in zip(first, expected, strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize(("with_query", "forwards"), [(False, 4), (True, 6)])
@pytest.mark.parametrize("multi_step", [False, True])
def test_a_multi_step_loss_costs_forwards_only_on_a_separate_query(toy, with_query, forwards, multi_step):
    """Three steps and the loss after the last are four forwards; on a separate query, the two losses before
    are two more."""
    model, batch, targets = toy
    loss = loss_on(model, class_balanced_cross_entropy, batch, targets)
    outer_loss = query_loss(model) if with_query else None
    calls = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    schedule = StepSchedule((True,) * 3, (0.0, 0.3, 0.2) if multi_step else (0.0,) * 3)
    rates = uneven_rates(3, len(list(model.parameters())))
    adapted, _ = inner_loop(loss, dict(model.trainable_parameters()), rates, schedule, outer_loss)
    (outer_loss or loss)(adapted)
    assert len(calls) == (forwards if multi_step else 4)


def test_adapting_with_a_constant_rate_is_plain_gradient_descent(toy):
    model, batch, targets = toy
    weights = {name: parameter.detach().clone() for name, parameter in model.trainable_parameters().items()}
    rates = ConstantRate(list(weights), 0.1).double()
    adapted = adapt(model, rates, batch, targets, class_balanced_cross_entropy, steps=7)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(7):
        optimizer.zero_grad()
        class_balanced_cross_entropy(model(batch), targets).backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(adapted[name], parameter.detach())


def test_adapting_does_not_change_the_model(toy):
    model, batch, targets = toy
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    adapt(model, ConstantRate(list(before), 0.5), batch, targets, class_balanced_cross_entropy, steps=3)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_adapt_and_inner_loop_agree(toy):
    model, batch, targets = toy
    rates = LearnedRates(list(model.trainable_parameters()), steps=2, initial=0.2).double()
    expected, _ = inner_loop(
        loss_on(model, class_balanced_cross_entropy, batch, targets),
        dict(model.trainable_parameters()),
        rates.table(4),
        StepSchedule.plain(4),
    )
    adapted = adapt(model, rates, batch, targets, class_balanced_cross_entropy, 4)
    for name, tensor in adapted.items():
        torch.testing.assert_close(tensor, expected[name].detach())


@pytest.mark.parametrize("rate", [1e30, 1e300])
def test_a_step_that_diverges_is_not_taken(toy, rate):
    model, batch, targets = toy
    rates = ConstantRate(list(model.trainable_parameters()), 0.1).double()
    rates.rate.fill_(rate)
    adapted = adapt(model, rates, batch, targets, class_balanced_cross_entropy, 5)
    logits = functional_call(model, adapted, (batch,))
    assert class_balanced_cross_entropy(logits, targets).isfinite()


@pytest.mark.parametrize("steps", [0, 1, 9, 10, 11, 25])
@pytest.mark.parametrize("bad_steps", [(), (0,), (3,), (10,), (12, 24)])
def test_on_a_gpu_one_look_at_many_losses_gives_the_same_weights(toy, monkeypatch, steps, bad_steps):
    model, batch, targets = toy
    rates = LearnedRates(list(model.trainable_parameters()), steps=25, initial=0.1).double()
    with torch.no_grad():
        for step in bad_steps:
            rates.rates[:, step] = 1e300

    def adapted(gpu):
        looks = []
        all_of = torch.Tensor.all
        monkeypatch.setattr(inner_loop_module, "is_gpu", lambda device: gpu)
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "all", lambda tensor: looks.append(1) or all_of(tensor))
            weights = adapt(model, rates, batch, targets, class_balanced_cross_entropy, steps)
        return weights, len(looks)

    (expected, looks), (got, looks_on_gpu) = adapted(gpu=False), adapted(gpu=True)
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())
    if not bad_steps:
        assert (looks, looks_on_gpu) == (steps + 1, steps // 10 + 1)


@pytest.mark.parametrize("second_order", [False, True])
def test_under_autocast_the_adjoint_remembers_the_weights_of_no_step(second_order):
    generator = torch.Generator().manual_seed(0)
    clips = torch.randn(4, 8, generator=generator)
    weight = torch.randn(8, 8, generator=generator).requires_grad_()
    seen = []

    def loss(theta):
        seen.append(weakref.ref(theta["weight"]))
        return torch.nn.functional.linear(clips, theta["weight"]).float().square().mean()

    schedule = StepSchedule((second_order,) * 4, (0.0,) * 4)
    rates = torch.full((4, 1), 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        adapted, _ = inner_loop(loss, {"weight": weight}, rates, schedule, memory="adjoint")
        assert len(seen) == 4
        assert not any(leaf() is not None for leaf in seen)
        adapted["weight"].sum().backward()
        assert len(seen) == (8 if second_order else 4)
        assert not any(leaf() is not None for leaf in seen)
