"""Who adapts together: everybody once, alike enough, and no more than memory takes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from meta_perser.adaptation import batched_adaptation as module
from meta_perser.adaptation.batched_adaptation import (
    MEMORY,
    activation_bytes,
    adaptation_groups,
    state_bytes,
    weight_bytes,
)
from meta_perser.recognizer.model import EmotionRecognizer
from perser.encoders.encoder import SpeechEncoder
from perser.labels import EmotionSet


def recognizer(scope):
    torch.manual_seed(0)
    return EmotionRecognizer(SpeechEncoder.from_name("tiny-whisper"), EmotionSet(("a", "b")), scope, 8)


ADAPTERS, HEAD = recognizer("lora:2"), recognizer("head")
LENGTHS = st.lists(st.lists(st.integers(1, 700), min_size=1, max_size=5).map(sorted), max_size=8)


@settings(deadline=None)
@given(LENGTHS)
def test_everybody_once_with_as_many_pairs_and_little_padding(lengths):
    found = adaptation_groups(ADAPTERS, lengths)
    assert sorted(place for one in found for place in one) == list(range(len(lengths)))
    for company in (one for one in found if len(one) > 1):
        own = [lengths[place] for place in company]
        assert len({len(one) for one in own}) == 1
        padded = activation_bytes(ADAPTERS, [max(clips) for clips in zip(*own, strict=True)])
        assert padded <= module.LARGE
        assert padded * len(own) <= module.PADDING * sum(activation_bytes(ADAPTERS, one) for one in own) + 1


def test_persons_alike_go_together_and_the_large_go_alone():
    assert adaptation_groups(ADAPTERS, [[5, 9]] * 4) == [[0, 1, 2, 3]]
    assert adaptation_groups(ADAPTERS, [[5, 9], [5, 9, 9], [5, 9]]) == [[0, 2], [1]]
    assert adaptation_groups(ADAPTERS, [[10, 10], [10, 120], [11, 11], [12, 115]]) == [[0, 2], [3, 1]]
    assert adaptation_groups(ADAPTERS, [[500] * 32] * 2) == [[0], [1]]
    assert adaptation_groups(HEAD, [[0] * 32] * 5) == [[0, 1, 2, 3, 4]]
    assert adaptation_groups(HEAD, []) == []


@pytest.mark.parametrize("model", [ADAPTERS, HEAD], ids=["adapters", "head"])
def test_memory_bounds_a_company(model, monkeypatch):
    lengths = [[8, 8] if model is ADAPTERS else [0, 0]] * 7
    each = activation_bytes(model, lengths[0]) + weight_bytes(model) + state_bytes(model, 2)
    monkeypatch.setattr(module, "MEMORY", 3 * each)
    assert [len(one) for one in adaptation_groups(model, lengths)] == [3, 3, 1]
    monkeypatch.setattr(module, "MEMORY", each - 1)
    assert [len(one) for one in adaptation_groups(model, lengths)] == [1] * 7


def test_what_a_person_takes_grows_with_what_they_said():
    assert activation_bytes(HEAD, [0] * 64) == 0
    assert 0 < activation_bytes(ADAPTERS, [10, 10]) < activation_bytes(ADAPTERS, [10, 20])
    one_layer = activation_bytes(recognizer("lora:2:1"), [10, 20])
    assert activation_bytes(ADAPTERS, [10, 20]) == 3 * one_layer
    assert state_bytes(HEAD, 64) == 2 * state_bytes(HEAD, 32) < MEMORY
    assert weight_bytes(HEAD) < weight_bytes(ADAPTERS)
