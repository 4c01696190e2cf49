"""Frames told from samples, against what the front-ends give."""

import pytest
import torch

from perser.encoders.encoder import SpeechEncoder

# Around one frame, the 25 ms that a first frame needs, and odd lengths.
SAMPLES = (1, 200, 399, 400, 401, 639, 640, 719, 720, 721, 800, 4_321, 16_000, 40_123)


@pytest.mark.parametrize(
    "name", ["tiny-wav2vec2", "tiny-hubert", "tiny-wavlm", "tiny-data2vec", "tiny-whisper"]
)
def test_it_is_what_the_front_end_gives(name):
    encoder = SpeechEncoder.from_name(name)
    for samples in SAMPLES:
        (frames,) = encoder.frontend([0.1 * torch.randn(samples)])
        assert encoder.frame_count(samples) == len(frames), samples


@pytest.mark.parametrize("extra", [0, 1, 800])
def test_a_clip_longer_than_whispers_positions(extra):
    encoder = SpeechEncoder.from_name("tiny-whisper")
    samples = 30 * 16_000 + extra
    (frames,) = encoder.frontend([0.1 * torch.randn(samples)])
    assert encoder.frame_count(samples) == len(frames)
