from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from meta_perser.adaptation.personalizer import Unadapted
from meta_perser.baselines import (
    bias_scale,
    entire_few,
    head_few,
    linear_few,
    lora_few,
    multi_few,
    prior_shift,
)
from meta_perser.options import CONFIG, PretrainOptions
from meta_perser.pretrain import pretrain
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer, saved_settings
from meta_perser.route import ROUTE
from meta_perser.training.supervised import unadapted_validation
from meta_perser.training.tuning import RATES
from perser.encoders.encoder import SpeechEncoder
from perser.errors import UserError
from perser.installed_routes import build_method
from perser.selection.grid import Found
from perser.selection.validation import validate


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", -1),
        ("batch_size", 0),
        ("head_size", 0),
        ("frame_window", 0),
        ("adaptation_steps", 0),
        ("learning_rate", -1.0),
        ("weight_decay", -0.1),
        ("lora", "head"),
        ("label_smoothing", 1.0),
    ],
)
def test_impossible_options_are_refused_by_key(key, value, toy_corpus, toy_episodes_path, tmp_path):
    with pytest.raises(ValueError, match=key):
        PretrainOptions(**{key: value})
    with pytest.raises(UserError, match=key):
        pretrain(corpus=toy_corpus.folder, episodes=toy_episodes_path, out=tmp_path / "out", **{key: value})
    assert not (tmp_path / "out").exists()


def test_no_epoch_is_refused_where_an_encoder_is_the_start(toy_corpus, toy_episodes_path, tmp_path):
    with pytest.raises(UserError, match="epochs: 0 trains nothing"):
        pretrain(corpus=toy_corpus.folder, episodes=toy_episodes_path, out=tmp_path / "out", epochs=0)
    assert not (tmp_path / "out").exists()


def test_the_linear_model_leaves_the_encoder_as_it_came(trained):
    plain = SpeechEncoder.from_name("tiny-whisper", seed=0).fingerprint("all")
    encoders = {
        name: EmotionRecognizer.from_pretrained(trained.models / name).encoder.fingerprint("all")
        for name in ("linear", "multi", "ssl-e")
    }
    assert encoders["linear"] == plain
    assert plain not in (encoders["multi"], encoders["ssl-e"])
    model = EmotionRecognizer.from_pretrained(trained.models / "linear")
    assert model.scope == "head"
    assert model.layer_logits.abs().max() > 0


def test_every_baseline_has_its_tuned_rate(trained):
    tuned = {
        name: saved_settings(trained.models / name)["fine_tune"] for name in ("ssl-e", "linear", "multi")
    }
    assert tuned["ssl-e"].keys() == {"entire", "head", "lora"}
    assert tuned["linear"].keys() == {"head"}
    assert tuned["multi"].keys() == {"linears"}
    assert tuned["ssl-e"]["lora"]["rate"] in RATES
    assert tuned["multi"]["linears"]["rate"] in RATES
    assert tuned["linear"]["head"]["rate"] in RATES


def test_a_method_says_what_it_adapts(trained):
    tuned = saved_settings(trained.models / "ssl-e")["fine_tune"]
    for factory, part in ((entire_few, "entire"), (head_few, "head"), (lora_few, "lora")):
        described = factory(trained).describe()
        assert described.pop("rates tried") == Found(**tuned[part].pop("tried")).text
        assert described == {"steps": 6} | tuned[part]
    assert linear_few(trained).describe()["scope"] == "head"
    assert multi_few(trained).describe()["start"] == "a new head"
    assert (
        prior_shift(trained).describe()["strength"]
        == saved_settings(trained.models / "ssl-e")["prior_strength"]
    )


def test_prior_shift_is_entire_zero_with_a_recalibration(trained, toy_episodes):
    context = replace(trained, validation=lambda: toy_episodes.validation_episodes)
    for kind, factory in (("prior-shift", prior_shift), ("bias-scale", bias_scale)):
        own, added = factory(trained), build_method(f"entire-zero+{kind}", context)
        assert own.describe() == added.describe()
        assert own.parameters() == added.parameters()
        assert added.parameters()["moved"] == len(trained.emotions) + (kind == "bias-scale")
        episode = toy_episodes.episodes[0]
        answers = [
            method.personalize(episode.support).predict_proba(episode.query_utterances)
            for method in (own, added)
        ]
        np.testing.assert_array_equal(*answers)


def test_a_model_without_chosen_strengths_has_prior_shifts_own(trained, tmp_path):
    shutil.copytree(trained.models / "ssl-e", tmp_path / "ssl-e")
    config = tmp_path / "ssl-e" / CONFIG
    content = json.loads(config.read_text())
    del content["extra"]["recalibration"]  # as version 0.1.0 saved it
    config.write_text(json.dumps(content))
    (tmp_path / "ssl-e" / "checksums.json").unlink()
    older = replace(trained, models=tmp_path)
    assert prior_shift(older).describe()["strength"] == content["extra"]["prior_strength"]
    ROUTE.check_models("bias-scale", tmp_path, None)
    described = bias_scale(older).describe()
    assert described["strength"] == content["extra"]["prior_strength"]
    assert described["strength of the scale"] == 1.0


def test_fresh_heads_learn_at_a_rate_of_their_own(toy_corpus, toy_episodes_path, tmp_path):
    """At a rate of 0 a weight stays as it was."""
    options = {"corpus": toy_corpus.folder, "episodes": toy_episodes_path, "cache": tmp_path / "cache"}
    options |= {"epochs": 1, "head_size": 4, "adaptation_steps": 1, "learning_rate": 0.0, "weight_decay": 0.0}
    heads = {}
    for rate in (None, 0.1):
        out = tmp_path / f"linear-{rate}"
        pretrain(**options, out=out, target="linear", head_learning_rate=rate)
        heads[rate] = EmotionRecognizer.from_pretrained(out).classifier.weight
    assert not torch.equal(heads[None], heads[0.1])
    pretrain(**options, out=tmp_path / "multi", target="multi", head_learning_rate=0.1)
    trunk = EmotionRecognizer.from_pretrained(tmp_path / "multi").encoder.fingerprint("all")
    assert trunk == SpeechEncoder.from_name("tiny-whisper", seed=0).fingerprint("all")


def test_every_recording_is_read_and_goes_through_the_front_end_once(
    toy_corpus, toy_episodes_path, tmp_path, monkeypatch
):
    front_end, read = SpeechEncoder.frontend, []

    def counted(encoder, waveforms):
        read.extend(waveforms)
        return front_end(encoder, waveforms)

    monkeypatch.setattr(SpeechEncoder, "frontend", counted)
    pretrain(
        corpus=toy_corpus.folder,
        episodes=toy_episodes_path,
        out=tmp_path / "ssl-e",
        cache=tmp_path / "cache",
        epochs=1,
        head_size=4,
        adaptation_steps=1,
    )
    assert len(read) == len(toy_corpus.recordings)


def test_a_validation_encodes_each_utterance_once_and_scores_as_entire_zero(trained, toy_episodes):
    model = EmotionRecognizer.from_pretrained(trained.models / "ssl-e")
    source = ClipSource(trained.recordings, model, trained.cache)
    emotions, episodes = trained.emotions, toy_episodes.validation_episodes
    encoded: list[int] = []
    model.register_forward_hook(lambda _model, _inputs, logits: encoded.append(len(logits)))
    expected = validate(Unadapted(model, source), episodes, emotions, "log_loss")
    assert expected.score == -expected.values["log_loss"]
    asked = [utterance for episode in episodes for utterance in episode.query_utterances]
    assert sum(encoded) == len(asked)
    encoded.clear()
    found = unadapted_validation(model, source, episodes, emotions, "log_loss")
    assert found.values == pytest.approx(expected.values)
    assert sum(encoded) == len(set(asked)) < len(asked)


def test_a_new_head_depends_only_on_the_support_seed(trained, toy_episodes):
    first, second = (episode.support for episode in toy_episodes.episodes[:2])
    assert first.seed != second.seed
    method = multi_few(trained)
    with torch.no_grad():
        starts = [method.start(support) for support in (first, second, first)]
        for parameter in method.model.trainable_parameters().values():
            parameter.zero_()
    assert starts[0].keys() == method.model.trainable_parameters().keys()
    assert all(torch.equal(starts[0][name], starts[2][name]) for name in starts[0])
    assert not any(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])
    assert all(torch.equal(starts[0][name], one) for name, one in method.start(first).items())
