"""The number of frames computed from the number of samples equals that of the front-ends."""

import pytest
import torch

from perser.encoders.encoder import SpeechEncoder
from perser.encoders.loading import TINY_NAMES

# Lengths around one frame, around the 25 ms that a first frame needs, and odd ones.
SAMPLES = (1, 200, 399, 400, 401, 639, 640, 719, 720, 721, 800, 4_321, 16_000, 40_123)


@pytest.mark.parametrize("name", TINY_NAMES)
def test_the_count_is_the_number_of_frames_of_the_front_end(name):
    encoder = SpeechEncoder.from_name(name)
    for samples in SAMPLES:
        (frames,) = encoder.frontend([0.1 * torch.randn(samples)])
        assert encoder.frame_count(samples) == len(frames), samples


@pytest.mark.parametrize("extra", [0, 1, 800])
def test_the_count_is_right_for_clips_longer_than_the_window_of_whisper(extra):
    encoder = SpeechEncoder.from_name("tiny-whisper")
    samples = 30 * 16_000 + extra
    (frames,) = encoder.frontend([0.1 * torch.randn(samples)])
    assert encoder.frame_count(samples) == len(frames)
