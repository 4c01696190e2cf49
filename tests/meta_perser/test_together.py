"""Several persons at once are several persons one by one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.func import functional_call

from meta_perser import gradient, together
from meta_perser.inner_loop import adapt
from meta_perser.lslr import ConstantRate
from meta_perser.model import ClipBatch, EmotionRecognizer
from perser.encoder import SpeechEncoder
from perser.losses import class_balanced_cross_entropy
from perser.personalizer import Personalizer, build_method

HEADS = ["head-few", "linear-few", "multi-few", "meta-perser"]


@pytest.mark.parametrize("name", [*HEADS, "entire-few", "lora-few"])
def test_many_are_as_each_alone(name, trained, toy_episodes):
    method = build_method(name, trained)
    supports = [one.support for one in toy_episodes.episodes]
    supports[1:3] = [supports[1].first(5), supports[2].first(3)]  # unequal K
    query = toy_episodes.episodes[0].query_utterances
    for support, found in zip(supports, method.personalize_many(supports), strict=True):
        alone = method.personalize(support)
        assert found.weights.keys() == alone.weights.keys()
        np.testing.assert_allclose(found.predict_proba(query), alone.predict_proba(query), atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_where_only_the_head_moves_they_go_together(name, trained, toy_episodes, monkeypatch):
    method = build_method(name, trained)
    supports = [one.support for one in toy_episodes.episodes]
    calls = []

    def counted(model, starts, *rest):
        calls.append(len(next(iter(starts.values()))))
        return together.adapt_together(model, starts, *rest)

    monkeypatch.setattr(gradient, "adapt_together", counted)
    method.personalize_many(supports)
    assert calls == [len(supports)]
    calls.clear()
    monkeypatch.setattr(gradient, "persons_at_once", lambda model, k: 2)
    method.personalize_many(supports[:5])
    assert calls == [2, 2, 1]


def test_what_memory_takes_shrinks_with_the_supports(trained):
    model = build_method("head-few", trained).model
    assert together.persons_at_once(model, 8) > together.persons_at_once(model, 64) >= 1
    assert together.persons_at_once(model, 10**9) == 1


@pytest.mark.parametrize("rate", [0.05, 1e30, 1e300])
def test_one_persons_divergence_is_not_anothers(rate, toy_corpus):
    """Person 1's states are so large that the loss overflows after some step; persons 0 and 2 learn on."""
    torch.manual_seed(0)
    model = EmotionRecognizer(
        SpeechEncoder.from_name("tiny-whisper"), toy_corpus.emotions, "head", 8
    ).double()
    states = torch.randn(3, 6, model.encoder.num_layers + 1, model.encoder.hidden_size, dtype=torch.float64)
    states[1] *= 1e120
    targets = torch.randn(3, 6, 4, dtype=torch.float64).softmax(dim=-1)
    start = {name: one.detach() for name, one in model.moving_parameters().items()}
    rates = ConstantRate(list(start), 0.0).double()
    rates.rate.fill_(rate)
    stacked = {name: torch.stack([one] * 3) for name, one in start.items()}
    loss = class_balanced_cross_entropy
    found = together.adapt_together(model, stacked, rates, states, targets, loss, steps=4)
    for person in range(3):
        own = {name: one[person] for name, one in found.items()}
        batch = ClipBatch(states[person])
        alone = adapt(model, rates, batch, targets[person], loss, 4)
        for name, one in own.items():
            torch.testing.assert_close(one, alone[name], rtol=1e-9, atol=1e-12)
        assert loss(functional_call(model, own, (batch,)), targets[person]).isfinite()
    moved = [any((one[person] != start[name]).any() for name, one in found.items()) for person in (0, 2)]
    assert all(moved) or rate > 1


def test_a_method_that_overrides_nothing_goes_one_by_one(trained, toy_episodes):
    method = build_method("entire-zero", trained)
    assert type(method).personalize_many is Personalizer.personalize_many
    supports = [dataclasses.replace(one.support, seed=0) for one in toy_episodes.episodes[:2]]
    assert len(method.personalize_many(supports)) == 2
