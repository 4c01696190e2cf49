"""Dropout and masked frames apply in supervised training alone, and do what they say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from meta_perser.options import PretrainOptions
from meta_perser.recognizer.clip_batch import ClipBatch, bucketed
from meta_perser.training.regularization import MASK_LENGTH, dropout, masked
from perser.encoders.encoder import SpeechEncoder
from perser.errors import UserError


def test_an_encoder_drops_within_the_block_only():
    encoder = SpeechEncoder.from_name("tiny-wav2vec2")
    frames = torch.randn(2, 30, encoder.front_size)
    plain = encoder.hidden_states(frames, None)[-1]
    with dropout(encoder, 0.3):
        first, second = (encoder.hidden_states(frames, None)[-1] for _ in range(2))
    assert not torch.equal(first, plain)
    assert not torch.equal(first, second)
    assert torch.equal(encoder.hidden_states(frames, None)[-1], plain)
    with dropout(encoder, 0.0):
        assert torch.equal(encoder.hidden_states(frames, None)[-1], plain)


def test_an_encoder_without_dropout_layers_is_refused():
    with pytest.raises(UserError, match=r"pretrain\.dropout: 0\.1"), dropout(nn.Linear(2, 2), 0.1):
        pass


def test_about_the_share_of_the_frames_is_hidden_in_stretches():
    torch.manual_seed(0)
    clips = [torch.ones(400, 3) for _ in range(64)]
    batch = ClipBatch(torch.zeros(64, 0, 3), bucketed(clips))
    (bucket,) = masked(batch, 0.05).buckets
    hidden = (bucket.frames == 0).all(dim=2)
    assert torch.equal(hidden, (bucket.frames == 0).any(dim=2)), "whole frames are hidden"
    assert 0.03 < hidden.float().mean() < 0.06
    starts = hidden[:, 1:] & ~hidden[:, :-1]
    ends = hidden[:, :-1] & ~hidden[:, 1:]
    assert hidden.sum() >= MASK_LENGTH * torch.minimum(starts.sum(), ends.sum()) * 0.9
    assert batch.buckets[0].frames.all(), "the batch itself is not changed"
    assert masked(batch, 0.0) is batch


@pytest.mark.parametrize("name", ["dropout", "mask_time"])
def test_what_nothing_would_apply_to_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: .* scope head"):
        PretrainOptions(scope="head", **{name: 0.1})
    with pytest.raises(ValueError, match=name):
        PretrainOptions(**{name: 1.0})
