"""The speech LM on single clips gives the answers of the method that is measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from perser.errors import UserError
from perser.inference.clips import Failure
from perser.inference.recognizer import PersonalRecognizer, Recognizer
from perser.installed_routes import build_method
from perser.personalizer import RouteContext
from speechlm_icl import inference, personalizer
from speechlm_icl.inference import SpeechLM
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.model.speech_lm import new_model
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptOptions


@pytest.fixture(scope="module", params=["pooled", "stack"])
def context(request, toy_corpus, tmp_path_factory) -> RouteContext:
    """An untrained model that reads means over time, or windows."""
    folder = tmp_path_factory.mktemp("speech-lm")
    torch.manual_seed(0)
    model = new_model(
        toy_corpus.emotions,
        encoder="tiny-whisper",
        feature_shape=(4, 64),
        language_model="tiny-llama",
        lora=LoraOptions(),
        prompt=PromptOptions(),
        projector=ProjectorOptions(kind=request.param),
    )
    model.save_pretrained(folder / "models" / "speech-lm")
    return RouteContext(toy_corpus.emotions, toy_corpus.recordings, folder / "models", folder / "cache")


@pytest.fixture
def recognizer(context) -> Recognizer:
    return Recognizer.from_pretrained(context.models / "speech-lm")


def rows(predictions):
    return np.array([list(prediction.probabilities.values()) for prediction in predictions])


@pytest.mark.parametrize(
    ("standardize", "method"),
    [
        (None, "speech-lm+standardize=enrolled"),
        ("enrolled", "speech-lm+standardize=enrolled"),
        ("model", "speech-lm"),
    ],
)
def test_its_answers_are_those_of_the_measured_method(
    standardize, method, recognizer, context, toy_episodes, tmp_path
):
    episode, recordings = toy_episodes.episodes[0], context.recordings
    support, queries = episode.support, episode.query_utterances
    pairs = zip(support.utterances, support.emotions, strict=True)
    examples = [(recordings.path(name), emotions) for name, emotions in pairs]
    personal = recognizer.enroll(examples, standardize=standardize)
    predictions = personal.predict([recordings.path(name) for name in queries])
    expected = build_method(method, context).personalize(support).predict_proba(queries)
    np.testing.assert_allclose(rows(predictions), expected, atol=1e-5)
    nothing = build_method("speech-lm-0", context).personalize(support).predict_proba(queries)
    np.testing.assert_allclose(rows([prediction.unadapted for prediction in predictions]), nothing, atol=1e-5)
    assert np.abs(nothing - expected).max() > 1e-3
    personal.save(tmp_path / "alice.profile")
    again = PersonalRecognizer.load(tmp_path / "alice.profile")
    samples = [recordings.waveform(name).numpy() for name in queries]
    np.testing.assert_allclose(rows(again.predict(samples)), expected, atol=1e-5)


def test_a_profile_that_goes_on_learning_is_that_of_all_clips_at_once(
    recognizer, context, toy_episodes, tmp_path
):
    support, recordings = toy_episodes.episodes[0].support, context.recordings
    pairs = zip(support.utterances, support.emotions, strict=True)
    examples = [(recordings.path(name), emotions) for name, emotions in pairs]
    at_once = recognizer.enroll(examples)
    recognizer.enroll(examples[:2]).save(tmp_path / "alice.profile")
    again = PersonalRecognizer.load(tmp_path / "alice.profile").enroll(examples[2:])
    queries = [recordings.path(name) for name in toy_episodes.episodes[0].query_utterances]
    np.testing.assert_array_equal(rows(again.predict(queries)), rows(at_once.predict(queries)))
    assert again.enrolled == at_once.enrolled


@pytest.mark.parametrize("use", ["bench", "predict"])
def test_clips_are_encoded_on_the_model_s_device(context, monkeypatch, use):
    devices = []

    def cached_features(recordings, encoder, level, cache):
        devices.append(encoder.model.device.type)

    if use == "bench":
        monkeypatch.setattr(personalizer, "cached_features", cached_features)
        build_method("speech-lm", replace(context, device="meta"))
    else:
        monkeypatch.setattr(inference, "cached_features", cached_features)
        model = SpeechLM.from_pretrained(context.models / "speech-lm")
        model.to("meta")
        model.encode_clips(context.recordings)
    assert devices == ["meta"]


def test_a_clip_that_does_not_fit_does_not_affect_the_others(recognizer, context):
    clip = context.recordings.path(context.recordings.utterance_ids[0])
    if recognizer.model.level == "pooled":
        pytest.skip("a mean over time is a single position, however long the clip")
    recognizer.model.model.language_model.causal.config.max_position_embeddings = 30
    short, long = 0.1 * np.sin(np.arange(4000)), np.random.default_rng(0).normal(size=16_000 * 20)
    answers = list(recognizer.stream([clip, long, short]))
    assert [isinstance(answer, Failure) for answer in answers] == [False, True, False]
    assert "'clip 2' takes" in answers[1].reason


def test_features_of_another_shape_are_refused(recognizer):
    for wrong in ({}, {"clip-0": torch.zeros(2, 3)}, {"other": torch.zeros(4, 64)}):
        with pytest.raises(UserError, match="not those that the model reads"):
            recognizer.model.predictor(wrong, [("sad",)])


def test_a_model_whose_encoder_is_gone_is_refused_when_it_is_loaded(context, tmp_path):
    shutil.copytree(context.models / "speech-lm", tmp_path / "lm")
    config = json.loads((tmp_path / "lm" / "config.json").read_text())
    (tmp_path / "lm" / "config.json").write_text(json.dumps(config | {"encoder": "tiny-gone"}))
    (tmp_path / "lm" / "checksums.json").unlink()
    with pytest.raises(UserError, match="tiny-gone"):
        Recognizer.from_pretrained(tmp_path / "lm")


def test_the_fingerprint_depends_on_the_settings(recognizer, context):
    model = recognizer.model
    before = model.fingerprint()
    assert Recognizer.from_pretrained(context.models / "speech-lm").model.fingerprint() == before
    model.model.config.prompt = model.model.config.prompt | {"joiner": " or"}
    assert model.fingerprint() != before


@pytest.mark.parametrize("context", ["pooled"], indirect=True)
def test_an_answer_imports_nothing_unneeded(context, needless_imports):
    clip = context.recordings.path(context.recordings.utterance_ids[0])
    assert needless_imports(context.models / "speech-lm", clip) == set()
