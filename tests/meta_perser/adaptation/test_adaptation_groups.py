"""Which persons adapt together: each exactly once, with little padding, within the memory limit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from meta_perser.adaptation import batched_adaptation
from meta_perser.adaptation.batched_adaptation import (
    MAX_CPU_ACTIVATION_BYTES,
    MAX_GROUP_BYTES,
    MAX_PADDING,
    activation_bytes,
    adaptation_groups,
    max_group_bytes,
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
def test_each_person_is_in_one_group_with_as_many_pairs_and_little_padding(lengths):
    groups = adaptation_groups(ADAPTERS, lengths)
    assert sorted(person for group in groups for person in group) == list(range(len(lengths)))
    for group in (group for group in groups if len(group) > 1):
        own = [lengths[person] for person in group]
        assert len({len(clips) for clips in own}) == 1
        padded = activation_bytes(ADAPTERS, [max(clips) for clips in zip(*own, strict=True)])
        assert padded <= MAX_CPU_ACTIVATION_BYTES
        unpadded = sum(activation_bytes(ADAPTERS, clips) for clips in own)
        assert padded * len(own) <= MAX_PADDING * unpadded + 1


def test_similar_persons_are_grouped_and_large_ones_adapt_alone():
    assert adaptation_groups(ADAPTERS, [[5, 9]] * 4) == [[0, 1, 2, 3]]
    assert adaptation_groups(ADAPTERS, [[5, 9], [5, 9, 9], [5, 9]]) == [[0, 2], [1]]
    assert adaptation_groups(ADAPTERS, [[10, 10], [10, 120], [11, 11], [12, 115]]) == [[0, 2], [3, 1]]
    assert adaptation_groups(ADAPTERS, [[500] * 32] * 2) == [[0], [1]]
    assert adaptation_groups(HEAD, [[0] * 32] * 5) == [[0, 1, 2, 3, 4]]
    assert adaptation_groups(HEAD, []) == []


@pytest.mark.parametrize("model", [ADAPTERS, HEAD], ids=["adapters", "head"])
def test_memory_limits_the_size_of_a_group(model, monkeypatch):
    lengths = [[8, 8] if model is ADAPTERS else [0, 0]] * 7
    each = activation_bytes(model, lengths[0]) + weight_bytes(model) + state_bytes(model, 2)
    monkeypatch.setattr(batched_adaptation, "MAX_GROUP_BYTES", 3 * each)
    assert [len(group) for group in adaptation_groups(model, lengths)] == [3, 3, 1]
    monkeypatch.setattr(batched_adaptation, "MAX_GROUP_BYTES", each - 1)
    assert [len(group) for group in adaptation_groups(model, lengths)] == [1] * 7


def test_the_estimated_memory_grows_with_clips_and_moving_layers():
    assert activation_bytes(HEAD, [0] * 64) == 0
    assert 0 < activation_bytes(ADAPTERS, [10, 10]) < activation_bytes(ADAPTERS, [10, 20])
    one_layer = activation_bytes(recognizer("lora:2:1"), [10, 20])
    assert activation_bytes(ADAPTERS, [10, 20]) == 3 * one_layer
    assert state_bytes(HEAD, 64) == 2 * state_bytes(HEAD, 32) < MAX_GROUP_BYTES
    assert weight_bytes(HEAD) < weight_bytes(ADAPTERS)


@pytest.mark.parametrize(
    ("free", "most"),
    [(0, 2**28), (2**29, 2**28), (3 * 2**30, 2**30), (4 * 2**30 - 1, 2**30), (80 * 10**9, 2**35)],
)
def test_a_group_on_a_gpu_may_take_up_to_half_of_its_free_memory(monkeypatch, free, most):
    monkeypatch.setattr(batched_adaptation, "free_bytes", lambda device: free)
    assert max_group_bytes(torch.device("cuda")) == most
    assert max_group_bytes(torch.device("cpu")) == MAX_GROUP_BYTES
    lengths = [[100] * 8] * 400
    on_cpu = adaptation_groups(HEAD, lengths)
    monkeypatch.setattr(batched_adaptation, "is_gpu", lambda device: True)
    on_gpu = adaptation_groups(HEAD, lengths)
    assert max(map(len, on_gpu)) >= max(map(len, on_cpu))
