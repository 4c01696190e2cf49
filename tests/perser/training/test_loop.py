from __future__ import annotations

import math

import torch
from torch import nn

from perser.training.accelerator import cosine, start
from perser.training.loop import BestWeights, shuffled_batches


def test_the_best_weights_come_back_and_only_the_trained_ones_are_kept():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    best = BestWeights()
    assert best.offer(0.5, 1, model)
    kept = model[1].weight.detach().clone()
    frozen = torch.full_like(model[0].weight, 9.0)
    model[0].weight.data.copy_(frozen)
    model[1].weight.data.add_(1.0)
    assert not best.offer(0.4, 2, model)
    best.restore(model)
    torch.testing.assert_close(model[1].weight.detach(), kept)
    torch.testing.assert_close(model[0].weight.detach(), frozen)
    assert (best.score, best.step) == (0.5, 1)


def test_a_score_that_is_no_number_is_never_the_best():
    model, best = nn.Linear(1, 1), BestWeights()
    assert not best.offer(math.nan, 1, model)
    assert best.offer(0.5, 2, model)
    assert not best.offer(math.nan, 3, model)
    assert (best.score, best.step) == (0.5, 2)


def test_an_epoch_has_everything_once():
    batches = list(shuffled_batches(11, 4, torch.Generator().manual_seed(0)))
    assert [len(one) for one in batches] == [4, 4, 3]
    assert sorted(index for one in batches for index in one) == list(range(11))
    assert batches == list(shuffled_batches(11, 4, torch.Generator().manual_seed(0)))


def test_the_rate_rises_then_falls_to_nothing():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = cosine(optimizer, 20)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == 0
    assert max(rates) == 1
    assert rates.index(max(rates)) == 2
    assert optimizer.param_groups[0]["lr"] < 1e-6


def test_one_process_may_train_with_one_precision_after_another():
    assert start(0, "no").mixed_precision == "no"
    assert start(0, "bf16").mixed_precision == "bf16"


def test_the_same_seed_starts_the_same_chance():
    start(3)
    first = torch.rand(3)
    start(3)
    torch.testing.assert_close(first, torch.rand(3))
