"""The real Whisper base encoder (MIT). Skipped unless its weights lie in ../shared/models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import WhisperFeatureExtractor

from perser.encoders.encoder import SpeechEncoder, pad
from perser.encoders.family import mean_pool

FOLDER = Path(__file__).parents[3] / "shared" / "models" / "whisper-base-encoder"

pytestmark = pytest.mark.skipif(
    not (FOLDER / "model.safetensors").is_file(), reason="needs ../shared/models/whisper-base-encoder"
)


@pytest.fixture(scope="module")
def encoder():
    return SpeechEncoder.from_name(str(FOLDER))


def clips(*seconds):
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(int(16_000 * length), generator=generator) for length in seconds]


def test_the_files_weights_are_loaded_in_float32(encoder):
    assert (encoder.num_layers, encoder.hidden_size, encoder.front_size) == (6, 512, 512)
    weights, stored = encoder.model.state_dict(), load_file(FOLDER / "model.safetensors")
    assert weights.keys() == stored.keys()
    for name, value in weights.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, stored[name].float())


def test_thirty_seconds_give_the_states_of_transformers_own_forward(encoder):
    waveform = clips(30.0)[0]
    mel = WhisperFeatureExtractor()(
        waveform.numpy(), sampling_rate=16_000, return_tensors="pt"
    ).input_features
    with torch.no_grad():
        output = encoder.model(mel, output_hidden_states=True)
        frames, mask = pad(encoder.frontend([waveform]))
        for state, reference in zip(encoder.hidden_states(frames, mask), output.hidden_states, strict=True):
            torch.testing.assert_close(state, reference, atol=1e-3, rtol=1e-4)  # states reach hundreds


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_short_clips_do_not_depend_on_their_batch(encoder, attention):
    encoder.set_attention(attention)
    waveforms = clips(1.3, 0.6, 2.0)
    with torch.no_grad():
        frames, mask = pad(encoder.frontend(waveforms))
        batched = encoder.hidden_states(frames, mask)
        for row, waveform in enumerate(waveforms):
            alone = encoder.hidden_states(encoder.frontend([waveform])[0][None], None)
            for state, reference in zip(batched, alone, strict=True):
                pooled = mean_pool(state, mask)[row]
                torch.testing.assert_close(pooled, reference[0].mean(dim=0), atol=1e-4, rtol=1e-4)
    encoder.set_attention("eager")


def test_a_saved_encoder_has_the_same_fingerprint(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    assert SpeechEncoder.from_name(str(tmp_path)).fingerprint("all") == encoder.fingerprint("all")
