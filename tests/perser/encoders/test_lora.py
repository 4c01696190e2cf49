from __future__ import annotations

import re

import pytest
import torch

from perser.encoders.encoder import SpeechEncoder
from perser.encoders.feature_cache import cached_features
from perser.encoders.loading import TINY_NAMES
from perser.encoders.lora import adapted_layers, base_name, is_adapter

RANK = 2


@pytest.fixture(params=TINY_NAMES)
def encoder(request):
    return SpeechEncoder.from_name(request.param)


def output(encoder):
    hidden = torch.randn(2, 9, encoder.hidden_size, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) < torch.tensor([[9], [6]])
    return encoder.run_layers(hidden, mask)[-1][mask]


def fill(encoder):
    """Set the B matrices, which are 0 at first, to random values."""
    for name, parameter in encoder.model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.3)


def test_new_adapters_change_no_output(encoder):
    before = output(encoder)
    encoder.set_adapters(RANK)
    torch.testing.assert_close(output(encoder), before)
    assert len(encoder.adapter_parameters()) == encoder.num_layers * 4 * 2


def test_the_adapter_of_each_projection_has_an_effect(encoder):
    """WavLM needs special care, because it reads the weights of its projections instead of calling them."""
    torch.manual_seed(0)
    encoder.set_adapters(RANK)
    before = output(encoder)
    own = {name: module for name, module in adapted_layers(encoder.model).items() if "layers.1." in name}
    assert len(own) == 4
    for name, module in own.items():
        learned = module.lora_B["default"].weight
        with torch.no_grad():
            learned.normal_(std=10)  # large, because random weights attend to all frames alike
            assert (output(encoder) - before).abs().max() > 1e-3, name
            learned.zero_()


def test_removing_adapters_merges_what_they_learned(encoder):
    names = [name for name, _ in encoder.named_parameters()]
    encoder.set_adapters(RANK)
    fill(encoder)
    learned = output(encoder)
    encoder.set_adapters(None)
    torch.testing.assert_close(output(encoder), learned, atol=1e-5, rtol=1e-4)
    assert [name for name, _ in encoder.named_parameters()] == names


def test_adapters_of_the_same_rank_are_kept_and_others_replaced(encoder):
    encoder.set_adapters(RANK)
    fill(encoder)
    learned, parameters = output(encoder), encoder.adapter_parameters()
    encoder.set_adapters(RANK)
    assert all(a is b for a, b in zip(encoder.adapter_parameters(), parameters, strict=True))
    encoder.set_adapters(RANK + 1)
    assert {min(parameter.shape) for parameter in encoder.adapter_parameters()} == {RANK + 1}
    torch.testing.assert_close(output(encoder), learned, atol=1e-5, rtol=1e-4)


def test_adapters_can_be_on_the_highest_layers_only(encoder):
    start = encoder.num_layers - 1
    encoder.set_adapters(RANK)
    fill(encoder)
    learned = output(encoder)
    encoder.set_adapters(RANK, start=start)
    names = [name for name, _ in encoder.model.named_parameters() if is_adapter(name)]
    assert len(names) == 4 * 2
    assert all(f"layers.{start}." in name for name in names)
    torch.testing.assert_close(output(encoder), learned, atol=1e-5, rtol=1e-4)


def test_adapters_do_not_change_the_base_model(encoder, tmp_path):
    before = output(encoder)
    prints = [encoder.fingerprint("frontend"), encoder.fingerprint("all")]
    trunks = [[id(parameter) for parameter in encoder.trunk_parameters(start)] for start in (None, 0, 2)]
    encoder.set_adapters(RANK)
    fill(encoder)
    assert [encoder.fingerprint("frontend"), encoder.fingerprint("all")] == prints
    assert [
        [id(parameter) for parameter in encoder.trunk_parameters(start)] for start in (None, 0, 2)
    ] == trunks
    encoder.save_pretrained(tmp_path)
    torch.testing.assert_close(output(SpeechEncoder.from_name(str(tmp_path))), before)


def test_switching_adapters_off_does_not_change_what_is_trainable(encoder):
    before = output(encoder)
    encoder.set_adapters(RANK)
    fill(encoder)
    for number, parameter in enumerate(encoder.parameters()):
        parameter.requires_grad_(number % 3 == 0)
    wanted = [parameter.requires_grad for parameter in encoder.parameters()]
    learned = output(encoder)
    torch.testing.assert_close(output(encoder.without_adapters()), before)
    torch.testing.assert_close(output(encoder), learned)
    assert [parameter.requires_grad for parameter in encoder.parameters()] == wanted


def test_adapters_depend_on_the_seed_alone():
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(drawn))
        state = torch.get_rng_state()
        encoder = SpeechEncoder.from_name("tiny-whisper")
        encoder.set_adapters(RANK, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        drawn.append(torch.cat([parameter.detach().flatten() for parameter in encoder.adapter_parameters()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_cached_features_are_those_of_the_base_model(toy_corpus, tmp_path):
    encoder = SpeechEncoder.from_name("tiny-whisper")
    encoder.set_adapters(RANK)
    fill(encoder)
    with_adapters = cached_features(toy_corpus.recordings, encoder, "pooled", tmp_path / "adapted")
    plain = cached_features(
        toy_corpus.recordings, SpeechEncoder.from_name("tiny-whisper"), "pooled", tmp_path / "plain"
    )
    chosen = toy_corpus.recordings.utterance_ids[:5]
    torch.testing.assert_close(with_adapters.stack(chosen), plain.stack(chosen))


def test_adapters_are_recognized_by_name():
    encoder = SpeechEncoder.from_name("tiny-hubert")
    own = {name for name, _ in encoder.model.named_parameters()}
    encoder.set_adapters(RANK)
    named = [name for name, _ in encoder.model.named_parameters()]
    assert {base_name(name) for name in named if not is_adapter(name)} == own
    adapters = [name for name in named if is_adapter(name)]
    assert all(re.search(r"layers\.\d+\.attention\.(q|k|v|out)_proj\.lora_[AB]", name) for name in adapters)
