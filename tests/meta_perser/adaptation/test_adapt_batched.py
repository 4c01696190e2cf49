"""Adapting several persons at once gives the same as adapting each alone."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.func import functional_call

from meta_perser.adaptation import personalizer
from meta_perser.adaptation.batched_adaptation import adapt_batched
from meta_perser.adaptation.inner_loop import adapt
from meta_perser.adaptation.lslr import ConstantRate, LearnedRates
from meta_perser.recognizer.clip_batch import ClipBatch, bucketed, stacked_buckets
from meta_perser.recognizer.model import EmotionRecognizer
from perser.encoders.encoder import SpeechEncoder
from perser.installed_routes import build_method
from perser.losses import class_balanced_cross_entropy
from perser.personalizer import Personalizer
from perser.selection import validation
from perser.selection.validation import all_scores

HEADS = ["head-few", "linear-few", "multi-few", "meta-perser"]


@pytest.mark.parametrize("name", [*HEADS, "entire-few", "lora-few"])
def test_personalize_many_gives_the_same_as_personalize(name, trained, toy_episodes):
    method = build_method(name, trained)
    supports = [episode.support for episode in toy_episodes.episodes]
    supports[1:3] = [supports[1].first(5), supports[2].first(3)]  # unequal K
    query = toy_episodes.episodes[0].query_utterances
    for support, predictor in zip(supports, method.personalize_many(supports), strict=True):
        alone = method.personalize(support)
        assert predictor.weights.keys() == alone.weights.keys()
        np.testing.assert_allclose(predictor.predict_proba(query), alone.predict_proba(query), atol=1e-5)


@pytest.mark.parametrize("name", [*HEADS, "lora-few"])
def test_persons_are_batched_where_only_head_or_adapters_move(name, trained, toy_episodes, monkeypatch):
    method = build_method(name, trained)
    supports = [episode.support for episode in toy_episodes.episodes]
    calls = []

    def counted(model, starts, *rest):
        calls.append(len(next(iter(starts.values()))))
        return adapt_batched(model, starts, *rest)

    monkeypatch.setattr(personalizer, "adapt_batched", counted)
    method.personalize_many(supports)
    assert calls == [len(supports)]
    calls.clear()
    monkeypatch.setattr(personalizer, "adaptation_groups", lambda *_: [[4, 1], [2], [0, 3]])
    method.personalize_many(supports[:5])
    assert calls == [2, 2]


@pytest.mark.parametrize("name", ["head-few", "entire-few"])
def test_persons_that_adapt_alone_share_free_cores(name, trained, toy_episodes, monkeypatch):
    method = build_method(name, trained)
    episodes = toy_episodes.episodes
    expected = all_scores(method, episodes, method.model.emotions)
    counts = []

    def counted(count):
        counts.append(count)
        return ThreadPoolExecutor(count)

    monkeypatch.setattr(validation, "ThreadPoolExecutor", counted)
    monkeypatch.setattr(validation, "num_cores", lambda: 3 * torch.get_num_threads())
    one_by_one = not method.adapts_together
    assert one_by_one == (name == "entire-few")
    assert all_scores(method, episodes, method.model.emotions, one_by_one) == expected
    assert counts == ([3] if one_by_one else [])


ENCODERS = ("tiny-wav2vec2", "tiny-hubert", "tiny-wavlm", "tiny-data2vec", "tiny-whisper")


@pytest.mark.parametrize("scope", ["lora:2", "lora:2:1"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_batched_adapters_are_those_of_each_person_alone(encoder, scope, toy_corpus):
    """With clips of all lengths, which alone would be in other buckets, and learned rates."""
    torch.manual_seed(0)
    model = EmotionRecognizer(SpeechEncoder.from_name(encoder), toy_corpus.emotions, scope, 8)
    moving = list(model.trainable_parameters())
    rates = LearnedRates(moving, 2, 0.05)
    torch.nn.init.uniform_(rates.rates, 0.01, 0.1)
    clips = [
        [torch.randn(length, model.encoder.hidden_size) for length in lengths]
        for lengths in ((3, 8, 40, 140), (5, 7, 90, 91), (4, 4, 4, 4))
    ]
    lower = torch.randn(3, 4, model.lowest_layer + 1, model.encoder.hidden_size)
    targets = torch.randn(3, 4, 4).softmax(dim=-1)
    start = {name: parameter.detach() for name, parameter in model.trainable_parameters().items()}
    starts = {name: torch.stack([tensor] * 3) for name, tensor in start.items()}
    batch = ClipBatch(lower, stacked_buckets(clips))
    assert len(batch.buckets) > 1
    with torch.no_grad():
        adapted = adapt_batched(model, starts, rates, batch, targets, class_balanced_cross_entropy, steps=3)
    for person in range(3):
        own = ClipBatch(lower[person], bucketed(clips[person]))
        alone = adapt(model, rates, own, targets[person], class_balanced_cross_entropy, 3)
        for name, tensor in alone.items():
            torch.testing.assert_close(adapted[name][person], tensor, rtol=1e-4, atol=1e-6)
    assert all((adapted[name][0] != start[name]).any() for name in moving if ".lora_B." in name)


@pytest.mark.parametrize("rate", [0.05, 1e30, 1e300])
def test_one_persons_divergence_does_not_affect_the_others(rate, toy_corpus):
    """Person 1's states are so large that the loss overflows after some step; persons 0 and 2 go on."""
    torch.manual_seed(0)
    model = EmotionRecognizer(
        SpeechEncoder.from_name("tiny-whisper"), toy_corpus.emotions, "head", 8
    ).double()
    states = torch.randn(3, 6, model.encoder.num_layers + 1, model.encoder.hidden_size, dtype=torch.float64)
    states[1] *= 1e120
    targets = torch.randn(3, 6, 4, dtype=torch.float64).softmax(dim=-1)
    start = {name: parameter.detach() for name, parameter in model.trainable_parameters().items()}
    rates = ConstantRate(list(start), 0.0).double()
    rates.rate.fill_(rate)
    starts = {name: torch.stack([tensor] * 3) for name, tensor in start.items()}
    loss = class_balanced_cross_entropy
    adapted = adapt_batched(model, starts, rates, ClipBatch(states), targets, loss, steps=4)
    for person in range(3):
        own = {name: stack[person] for name, stack in adapted.items()}
        batch = ClipBatch(states[person])
        alone = adapt(model, rates, batch, targets[person], loss, 4)
        for name, tensor in own.items():
            torch.testing.assert_close(tensor, alone[name], rtol=1e-9, atol=1e-12)
        assert loss(functional_call(model, own, (batch,)), targets[person]).isfinite()
    moved = [
        any((stack[person] != start[name]).any() for name, stack in adapted.items()) for person in (0, 2)
    ]
    assert all(moved) or rate > 1


def test_a_method_without_gradient_steps_personalizes_one_by_one(trained, toy_episodes):
    method = build_method("entire-zero", trained)
    assert type(method).personalize_many is Personalizer.personalize_many
    supports = [dataclasses.replace(episode.support, seed=0) for episode in toy_episodes.episodes[:2]]
    assert len(method.personalize_many(supports)) == 2
