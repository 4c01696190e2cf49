from __future__ import annotations

import json
import shutil

import pytest
import torch

from meta_perser.options import InnerOptions, LslrOptions
from meta_perser.recognizer.model import CONFIG, EmotionRecognizer
from meta_perser.training.initialization import initial_meta_perser
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.feature_cache import cached_features
from perser.errors import UserError


def begin(trained, toy_corpus, toy_episodes, init, folder=None, tune_fresh_head=None, scope="head", **inner):
    return initial_meta_perser(
        folder or trained.models / "ssl-e",
        init,
        scope,
        InnerOptions(**inner),
        LslrOptions(),
        toy_episodes.training_tasks(toy_corpus),
        toy_corpus.recordings,
        trained.cache,
        torch.device("cpu"),
        tune_fresh_head,
    )


def trunk(model):
    return {name: one for name, one in model.state_dict().items() if name.startswith("encoder.")}


def test_ssl_e_is_taken_as_it_is(trained, toy_corpus, toy_episodes):
    begun = begin(trained, toy_corpus, toy_episodes, "ssl-e")
    saved = EmotionRecognizer.from_pretrained(trained.models / "ssl-e").state_dict()
    assert all(torch.equal(one, saved[name]) for name, one in begun.model.state_dict().items())


def test_the_plain_encoder_is_that_before_ssl_e(trained, toy_corpus, toy_episodes):
    """Same trunk as a fresh one, unlike SSL-E's, with standardized states and a head of the same shape."""
    begun = begin(trained, toy_corpus, toy_episodes, "encoder")
    saved = EmotionRecognizer.from_pretrained(trained.models / "ssl-e")
    encoder = SpeechEncoder.from_name("tiny-whisper", seed=0)
    for name, one in encoder.state_dict().items():
        assert torch.equal(begun.model.state_dict()[f"encoder.{name}"], one)
    assert any(not torch.equal(one, trunk(saved)[name]) for name, one in trunk(begun.model).items())
    assert begun.model.classifier.weight.shape == saved.classifier.weight.shape
    tasks = toy_episodes.training_tasks(toy_corpus)
    heard = sorted({utterance for task in tasks for utterance in task.utterances})
    states = cached_features(toy_corpus.recordings, encoder, "pooled", trained.cache).stack(heard)
    torch.testing.assert_close(begun.model.state_mean, states.mean(dim=0))
    torch.testing.assert_close(
        begun.class_weights, begin(trained, toy_corpus, toy_episodes, "ssl-e").class_weights
    )


def test_the_rate_is_the_given_one_or_that_of_fine_tuning(trained, toy_corpus, toy_episodes):
    assert begin(trained, toy_corpus, toy_episodes, "ssl-e", rate=0.125).rates.initial == 0.125
    config = json.loads((trained.models / "ssl-e" / CONFIG).read_text())
    tuned = config["extra"]["fine_tune"]["head"]["rate"]
    found = begin(trained, toy_corpus, toy_episodes, "ssl-e").rates.initial.item()
    assert found == pytest.approx(tuned)


def test_an_ssl_e_that_does_not_name_its_encoder_is_refused(trained, toy_corpus, toy_episodes, tmp_path):
    shutil.copytree(trained.models / "ssl-e", tmp_path / "old")
    config = json.loads((tmp_path / "old" / CONFIG).read_text())
    del config["extra"]["encoder"]
    (tmp_path / "old" / CONFIG).write_text(json.dumps(config))
    (tmp_path / "old" / "checksums.json").unlink()
    with pytest.raises(UserError, match="which encoder"):
        begin(trained, toy_corpus, toy_episodes, "encoder", tmp_path / "old")


@pytest.mark.parametrize("name", ["linear", "multi", "meta-perser"])
def test_a_model_that_is_no_ssl_e_is_refused(name, trained, toy_corpus, toy_episodes):
    with pytest.raises(UserError, match=f"^ssl_e: .*{name} holds another model: .*--target ssl-e"):
        begin(trained, toy_corpus, toy_episodes, "ssl-e", trained.models / name)


def test_a_fresh_head_has_the_rate_that_was_tuned_for_it(trained, toy_corpus, toy_episodes):
    def begun(init, **inner):
        rates = begin(
            trained, toy_corpus, toy_episodes, init, None, lambda *_: 0.25, "top_layers:1", **inner
        ).rates
        return dict(zip(rates.names, rates.table(1)[0].tolist(), strict=True))

    fresh, of_ssl_e, given = begun("encoder"), begun("ssl-e"), begun("encoder", rate=0.125)
    assert all((rate == 0.25) != name.startswith("encoder.") for name, rate in fresh.items())
    assert len(set(of_ssl_e.values())) == 1
    assert set(given.values()) == {0.125}


def test_the_inner_loop_may_move_the_classifier_alone(trained, toy_corpus, toy_episodes):
    rates = begin(trained, toy_corpus, toy_episodes, "ssl-e", moves="classifier", rate=0.125).rates
    by_name = dict(zip(rates.names, rates.table(1)[0].tolist(), strict=True))
    assert {name for name, rate in by_name.items() if rate} == {"classifier.weight", "classifier.bias"}
