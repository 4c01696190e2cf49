"""The recognizer: scopes, batches, saving and loading, the logit scale."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import WEIGHTS, EmotionRecognizer, saved_settings
from perser.encoders.encoder import SpeechEncoder
from perser.errors import UserError
from perser.io.checksums import CHECKSUMS

ENCODERS = ["tiny-whisper", "tiny-wav2vec2", "tiny-wavlm"]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_scope_gives_the_same_logits(encoder, toy_corpus, tmp_path):
    """Hidden states below the moving part come from the cache, and make no difference."""
    torch.manual_seed(0)
    model = EmotionRecognizer(SpeechEncoder.from_name(encoder), toy_corpus.emotions, "all", head_size=16)
    chosen = toy_corpus.recordings.utterance_ids[:6]
    logits = {}
    for scope in ("all", "top_layers:3", "top_layers:1", "head", "lora:2", "lora:2:1", "linears"):
        model.set_scope(scope)
        source = ClipSource(toy_corpus.recordings, model, tmp_path)
        logits[scope] = model(source.batch(chosen)).detach()
    for scope, own in logits.items():
        torch.testing.assert_close(own, logits["all"], atol=1e-4, rtol=1e-4, msg=scope)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("scope", ["all", "top_layers:1", "head", "lora:2", "lora:2:1", "linears"])
def test_exactly_the_moving_parameters_get_a_gradient(encoder, scope, toy_corpus, tmp_path):
    model = EmotionRecognizer(SpeechEncoder.from_name(encoder), toy_corpus.emotions, scope, head_size=16)
    source = ClipSource(toy_corpus.recordings, model, tmp_path)
    model(source.batch(toy_corpus.recordings.utterance_ids[:4])).square().sum().backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved == set(model.trainable_parameters())


def test_narrower_scopes_move_less(toy_corpus):
    model = EmotionRecognizer(SpeechEncoder.from_name("tiny-wavlm"), toy_corpus.emotions)
    moving = []
    for scope in ("all", "top_layers:2", "top_layers:1", "head", "linears"):
        model.set_scope(scope)
        moving.append(set(model.trainable_parameters()))
    assert all(inner < outer for outer, inner in itertools.pairwise(moving))
    assert moving[-2] - moving[-1] == {"layer_logits"}
    assert moving[-1] == {
        "projector.weight",
        "projector.bias",
        "classifier.weight",
        "classifier.bias",
    }


def test_logits_do_not_depend_on_the_batch(toy_corpus, tmp_path):
    model = EmotionRecognizer(SpeechEncoder.from_name("tiny-wav2vec2"), toy_corpus.emotions, "all", 16)
    source = ClipSource(toy_corpus.recordings, model, tmp_path)
    chosen = toy_corpus.recordings.utterance_ids[:5]
    batched = model(source.batch(chosen))
    alone = torch.cat([model(source.batch([name])) for name in chosen])
    torch.testing.assert_close(batched, alone, atol=1e-4, rtol=1e-4)


def test_a_loaded_recognizer_is_the_saved_one(toy_corpus, tmp_path):
    torch.manual_seed(0)
    model = EmotionRecognizer(SpeechEncoder.from_name("tiny-hubert"), toy_corpus.emotions, "all", 16)
    model.standardize(torch.randn(20, model.encoder.num_layers + 1, model.encoder.hidden_size))
    model.save_pretrained(tmp_path / "model", note=3)
    loaded = EmotionRecognizer.from_pretrained(tmp_path / "model")
    chosen = toy_corpus.recordings.utterance_ids[:3]
    outputs = [
        each(ClipSource(toy_corpus.recordings, each, tmp_path / "cache").batch(chosen))
        for each in (model, loaded)
    ]
    torch.testing.assert_close(*outputs)
    assert saved_settings(tmp_path / "model") == {"note": 3}
    assert loaded.emotions == model.emotions


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"meta_perser\.json"):
        EmotionRecognizer.from_pretrained(tmp_path)


def test_a_logit_scale_starts_at_1_and_moves_with_the_head(toy_corpus, tmp_path):
    torch.manual_seed(0)
    encoder = SpeechEncoder.from_name("tiny-whisper")
    scaled = EmotionRecognizer(encoder, toy_corpus.emotions, "head", 8, logit_scale=True)
    batch = ClipSource(toy_corpus.recordings, scaled, tmp_path / "cache").batch(
        toy_corpus.recordings.utterance_ids[:3]
    )
    with torch.no_grad():
        before = scaled(batch)
        scaled.log_scale += math.log(2)
        torch.testing.assert_close(scaled(batch), 2 * before)
    assert "log_scale" in scaled.trainable_parameters()
    scaled.save_pretrained(tmp_path / "model")
    loaded = EmotionRecognizer.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        torch.testing.assert_close(loaded(batch), 2 * before)
    weights = load_file(tmp_path / "model" / WEIGHTS)
    weights["log_scale"] = weights["log_scale"].squeeze()  # older models have a scalar
    save_file(weights, tmp_path / "model" / WEIGHTS)
    (tmp_path / "model" / CHECKSUMS).unlink()
    torch.testing.assert_close(
        EmotionRecognizer.from_pretrained(tmp_path / "model").log_scale, scaled.log_scale
    )
    scaled.set_scope("linears")
    assert "log_scale" not in scaled.trainable_parameters()
    plain = EmotionRecognizer(encoder, toy_corpus.emotions, "head", 8)
    assert "log_scale" not in plain.state_dict()
