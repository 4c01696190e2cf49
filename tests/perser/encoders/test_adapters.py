from __future__ import annotations

import re

import pytest
import torch

from perser.encoders.encoder import SpeechEncoder
from perser.encoders.feature_cache import cached_features
from perser.encoders.lora import base_name, is_adapter

NAMES = ["tiny-wav2vec2", "tiny-hubert", "tiny-wavlm", "tiny-data2vec", "tiny-whisper"]
RANK = 2


@pytest.fixture(params=NAMES)
def encoder(request):
    return SpeechEncoder.from_name(request.param)


def output(encoder):
    hidden = torch.randn(2, 9, encoder.hidden_size, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) < torch.tensor([[9], [6]])
    return encoder.run_layers(hidden, mask)[-1][mask]


def fill(encoder, only=""):
    """Random values in the B matrices, which start at 0."""
    for name, one in encoder.model.named_parameters():
        if ".lora_B." in name and only in name:
            torch.nn.init.normal_(one, std=0.3)


def test_new_adapters_change_no_output(encoder):
    before = output(encoder)
    encoder.set_adapters(RANK)
    torch.testing.assert_close(output(encoder), before)
    assert len(encoder.adapter_parameters()) == encoder.num_layers * 4 * 2


@pytest.mark.parametrize("projection", ["q_proj", "k_proj", "v_proj", "out_proj"])
def test_every_projections_adapter_is_heard(encoder, projection):
    """WavLM reads the projections' weights instead of calling them."""
    encoder.set_adapters(RANK)
    before = output(encoder)
    fill(encoder, projection)
    assert (output(encoder) - before).abs().max() > 1e-3


def test_leaving_the_adapters_merges_what_they_learned(encoder):
    names = [name for name, _ in encoder.named_parameters()]
    encoder.set_adapters(RANK)
    fill(encoder)
    learned = output(encoder)
    encoder.set_adapters(None)
    torch.testing.assert_close(output(encoder), learned, atol=1e-5, rtol=1e-4)
    assert [name for name, _ in encoder.named_parameters()] == names


def test_adapters_of_the_same_rank_are_kept_and_others_start_anew(encoder):
    encoder.set_adapters(RANK)
    fill(encoder)
    learned, parameters = output(encoder), encoder.adapter_parameters()
    encoder.set_adapters(RANK)
    assert all(a is b for a, b in zip(encoder.adapter_parameters(), parameters, strict=True))
    encoder.set_adapters(RANK + 1)
    assert {min(one.shape) for one in encoder.adapter_parameters()} == {RANK + 1}
    torch.testing.assert_close(output(encoder), learned, atol=1e-5, rtol=1e-4)


def test_adapters_can_be_had_on_the_highest_layers_alone(encoder):
    start = encoder.num_layers - 1
    encoder.set_adapters(RANK)
    fill(encoder)
    learned = output(encoder)
    encoder.set_adapters(RANK, start=start)
    names = [name for name, _ in encoder.model.named_parameters() if is_adapter(name)]
    assert len(names) == 4 * 2
    assert all(f"layers.{start}." in name for name in names)
    torch.testing.assert_close(output(encoder), learned, atol=1e-5, rtol=1e-4)


def test_the_base_stays_itself_under_its_adapters(encoder, tmp_path):
    before = output(encoder)
    prints = [encoder.fingerprint("frontend"), encoder.fingerprint("all")]
    trunks = [[id(one) for one in encoder.trunk_parameters(start)] for start in (None, 0, 2)]
    encoder.set_adapters(RANK)
    fill(encoder)
    assert [encoder.fingerprint("frontend"), encoder.fingerprint("all")] == prints
    assert [[id(one) for one in encoder.trunk_parameters(start)] for start in (None, 0, 2)] == trunks
    encoder.save_pretrained(tmp_path)
    torch.testing.assert_close(output(SpeechEncoder.from_name(str(tmp_path))), before)


def test_switching_off_leaves_gradients_as_they_were(encoder):
    before = output(encoder)
    encoder.set_adapters(RANK)
    fill(encoder)
    for number, one in enumerate(encoder.parameters()):
        one.requires_grad_(number % 3 == 0)
    wanted = [one.requires_grad for one in encoder.parameters()]
    learned = output(encoder)
    with encoder.without_adapters():
        torch.testing.assert_close(output(encoder), before)
    torch.testing.assert_close(output(encoder), learned)
    assert [one.requires_grad for one in encoder.parameters()] == wanted


def test_the_seed_alone_draws_the_adapters():
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(drawn))
        state = torch.get_rng_state()
        encoder = SpeechEncoder.from_name("tiny-whisper")
        encoder.set_adapters(RANK, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        drawn.append(torch.cat([one.detach().flatten() for one in encoder.adapter_parameters()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_features_are_the_bases(toy_corpus, tmp_path):
    encoder = SpeechEncoder.from_name("tiny-whisper")
    encoder.set_adapters(RANK)
    fill(encoder)
    with_adapters = cached_features(toy_corpus.recordings, encoder, "pooled", tmp_path / "adapted")
    plain = cached_features(
        toy_corpus.recordings, SpeechEncoder.from_name("tiny-whisper"), "pooled", tmp_path / "plain"
    )
    chosen = toy_corpus.recordings.utterance_ids[:5]
    torch.testing.assert_close(with_adapters.stack(chosen), plain.stack(chosen))


def test_names_say_what_is_an_adapter():
    encoder = SpeechEncoder.from_name("tiny-hubert")
    own = {name for name, _ in encoder.model.named_parameters()}
    encoder.set_adapters(RANK)
    named = [name for name, _ in encoder.model.named_parameters()]
    assert {base_name(name) for name in named if not is_adapter(name)} == own
    adapters = [name for name in named if is_adapter(name)]
    assert all(re.search(r"layers\.\d+\.attention\.(q|k|v|out)_proj\.lora_[AB]", one) for one in adapters)
