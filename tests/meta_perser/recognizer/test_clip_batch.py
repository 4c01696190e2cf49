"""Buckets: cheapest cuts, unchanged logits and gradients, one shape for several persons."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from meta_perser.recognizer.clip_batch import (
    BUCKET_COST,
    Bucket,
    ClipBatch,
    bucket_positions,
    bucketed,
    longest_at_each_position,
    stacked_buckets,
)
from meta_perser.recognizer.model import EmotionRecognizer
from perser.encoders.encoder import SpeechEncoder, pad
from perser.labels import EmotionSet


def cost(lengths, buckets):
    return sum(len(bucket) * max(lengths[i] for i in bucket) + BUCKET_COST for bucket in buckets)


@given(st.lists(st.integers(1, 600), min_size=1, max_size=8))
def test_no_other_way_to_cut_the_sorted_clips_is_cheaper(lengths):
    buckets = bucket_positions(lengths)
    assert sorted(itertools.chain(*buckets)) == list(range(len(lengths)))
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    inner = range(1, len(order))
    for count in range(len(order)):
        for cuts in itertools.combinations(inner, count):
            edges = [0, *cuts, len(order)]
            other = [order[a:b] for a, b in itertools.pairwise(edges)]
            assert cost(lengths, buckets) <= cost(lengths, other)


def test_similar_clips_share_a_bucket_and_a_long_one_gets_its_own():
    assert bucket_positions([15, 16, 18, 17]) == [[0, 1, 3, 2]]
    assert bucket_positions([100, 600, 102, 101]) == [[0, 3, 2], [1]]


def test_clips_of_equal_length_need_no_mask():
    (bucket,) = bucketed([torch.zeros(7, 2), torch.ones(7, 2)])
    assert bucket.mask is None


@pytest.mark.parametrize("encoder", ["tiny-whisper", "tiny-wav2vec2", "tiny-wavlm"])
@pytest.mark.parametrize("scope", ["all", "top_layers:1"])
def test_buckets_change_neither_logits_nor_gradients(encoder, scope):
    """Compares clips of 2 to 12 s in buckets to the same clips all padded to the longest."""
    torch.manual_seed(0)
    model = EmotionRecognizer(
        SpeechEncoder.from_name(encoder), EmotionSet(("a", "b", "c")), scope, 8
    ).double()
    width = model.encoder.front_size if scope == "all" else model.encoder.hidden_size
    below = 0 if model.lowest_layer is None else model.lowest_layer + 1
    lower = torch.randn(5, below, model.encoder.hidden_size, dtype=torch.float64)
    clips = [torch.randn(length, width, dtype=torch.float64) for length in (600, 100, 320, 110, 590)]
    buckets = bucketed(clips)
    frames, mask = pad(clips)
    padded = ClipBatch(lower, (Bucket(frames, mask, torch.arange(5)),))
    assert len(buckets) == 3
    assert sum(bucket.frames.shape[:2].numel() for bucket in buckets) < 0.65 * frames.shape[:2].numel()
    results = []
    for batch in (ClipBatch(lower, buckets), padded):
        logits = model(batch)
        moving = list(model.trainable_parameters().values())
        results.append([logits, *torch.autograd.grad(logits.square().sum(), moving)])
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-11)


def test_stacked_persons_share_shapes_and_keep_their_frames():
    lengths = [(3, 8, 300), (5, 7, 250), (1, 9, 310)]
    persons = [[torch.randn(length, 2) for length in own] for own in lengths]
    buckets = stacked_buckets(persons)
    assert longest_at_each_position(lengths) == [5, 9, 310]
    assert [bucket.positions.tolist() for bucket in buckets] == bucket_positions([5, 9, 310])
    assert [bucket.frames.shape for bucket in buckets] == [(3, 2, 9, 2), (3, 1, 310, 2)]
    for bucket in buckets:
        for person, clips in enumerate(persons):
            for row, position in enumerate(bucket.positions):
                real = bucket.mask[person, row]
                assert torch.equal(bucket.frames[person, row][real], clips[position])
                assert not bucket.frames[person, row][~real].any()
