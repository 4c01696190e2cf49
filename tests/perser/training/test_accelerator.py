from __future__ import annotations

import torch
from torch import nn

from perser.training import accelerator as module
from perser.training.accelerator import cosine_schedule, start_accelerator


def test_the_learning_rate_rises_and_then_falls_to_zero():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = cosine_schedule(optimizer, 20)
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
    assert start_accelerator(0, "no").mixed_precision == "no"
    assert start_accelerator(0, "bf16").mixed_precision == "bf16"


def test_a_training_allows_tf32_on_its_device(monkeypatch):
    chosen = []
    monkeypatch.setattr(module, "set_tf32", lambda device, allowed: chosen.append((device, allowed)))
    accelerator = start_accelerator(0)
    assert chosen == [(accelerator.device, True)]


def test_the_same_seed_gives_the_same_random_numbers():
    start_accelerator(3)
    first = torch.rand(3)
    start_accelerator(3)
    torch.testing.assert_close(first, torch.rand(3))
