from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from transformers import get_cosine_schedule_with_warmup

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


@pytest.mark.parametrize(("steps", "warmup"), [(20, 0.1), (7, 0.5), (5, 0.0), (1, 0.1)])
def test_the_schedule_is_that_of_transformers(steps, warmup):
    rates = []
    for schedule in (
        lambda optimizer: cosine_schedule(optimizer, steps, warmup),
        lambda optimizer: get_cosine_schedule_with_warmup(optimizer, int(steps * warmup), steps),
    ):
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.3)
        following = schedule(optimizer)
        rates.append([])
        for _ in range(steps):
            rates[-1].append(following.get_last_lr()[0])
            optimizer.step()
            following.step()
    assert rates[0] == pytest.approx(rates[1])


def test_a_training_is_set_up_without_quantized_weights():
    """They take a fifth of the time in which it starts."""
    code = "import sys, perser.training.accelerator; print({'bitsandbytes', 'peft'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
