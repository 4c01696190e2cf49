from __future__ import annotations

import math

import torch
from torch import nn

from perser.training.checkpoint import BestWeights


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


def test_a_nan_score_is_never_the_best():
    model, best = nn.Linear(1, 1), BestWeights()
    assert not best.offer(math.nan, 1, model)
    assert best.offer(0.5, 2, model)
    assert not best.offer(math.nan, 3, model)
    assert (best.score, best.step) == (0.5, 2)
