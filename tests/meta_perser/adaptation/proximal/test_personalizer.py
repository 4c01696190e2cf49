"""The proximal solver on a recognizer: saved, loaded, and the same alone as among others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.adaptation.open_head import head_of_support
from meta_perser.adaptation.personalizer import Unadapted
from meta_perser.adaptation.proximal.head import AdaptedHead, initial_strengths
from meta_perser.adaptation.proximal.strengths import Strengths
from meta_perser.options import LslrOptions
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer
from perser.adjustments.recalibration import Priors, Recalibrated
from perser.encoders.encoder import SpeechEncoder
from perser.episodes.episode import Support
from perser.labels import EmotionSet


@pytest.fixture(params=["head", "linears", "head with a scale"])
def begun(request, toy_corpus, tmp_path):
    """A recognizer with random weights and its clips."""
    torch.manual_seed(0)
    encoder = SpeechEncoder.from_name("tiny-whisper")
    scope, scaled = request.param.split()[0], "scale" in request.param
    model = EmotionRecognizer(encoder, toy_corpus.emotions, scope, 8, logit_scale=scaled).eval()
    if scaled:
        model.log_scale.data.fill_(0.4)
    return model, ClipSource(toy_corpus.recordings, model, tmp_path / "cache")


def meta_perser(model, strengths):
    return MetaPerSER(model, strengths, LslrOptions(), 5, 50, torch.ones(len(model.emotions)), SMOOTHING)


SMOOTHING = 0.05
STRENGTHS = torch.tensor([0.3, 0.5, 2.0])


def test_adapted_weights_answer_as_the_solution_does(begun, toy_episodes):
    model, source = begun
    episode = toy_episodes.episodes[0]
    strengths = Strengths(STRENGTHS)
    targets = model.targets(episode.support.emotions)
    targets = (1 - SMOOTHING) * targets + SMOOTHING / len(model.emotions)
    with torch.no_grad():
        head = AdaptedHead.fit(model, strengths, source.batch(episode.support.utterances), targets)
        expected = head.logits(model, source.batch(episode.query_utterances)).softmax(dim=-1)
        personal = meta_perser(model, strengths).personalizer(source).personalize(episode.support)
    probabilities = personal.predict_proba(episode.query_utterances)
    np.testing.assert_allclose(probabilities, expected.numpy(), atol=1e-5)
    assert {name for name in personal.weights if "classifier" in name} <= set(model.trainable_parameters())
    assert set(personal.weights) == set(model.trainable_parameters())


def test_the_initial_strengths_give_prior_shift(begun, toy_episodes):
    model, source = begun
    episode = toy_episodes.episodes[0]
    strengths = initial_strengths(model, source, episode.query_utterances, 2.0)
    answers = [
        personalizer.personalize(episode.support).predict_proba(episode.query_utterances)
        for personalizer in (
            Recalibrated(Unadapted(model, source), model.emotions, Priors(2.0)),
            meta_perser(model, strengths).personalizer(source),
        )
    ]
    np.testing.assert_allclose(*answers, atol=0.03)


def test_a_loaded_model_adapts_as_the_saved_one(begun, toy_episodes, tmp_path):
    model, source = begun
    saved = meta_perser(model, Strengths(STRENGTHS))
    saved.save_pretrained(tmp_path / "model")
    loaded = MetaPerSER.from_pretrained(tmp_path / "model")
    assert loaded.solver == saved.solver == "proximal"
    loaded.model.eval()
    episode = toy_episodes.episodes[0]
    answers = [
        each.personalizer(source).personalize(episode.support).predict_proba(episode.query_utterances)
        for each in (saved, loaded)
    ]
    np.testing.assert_array_equal(*answers)


def test_persons_together_are_adapted_as_alone(begun, toy_episodes):
    model, source = begun
    personalizer = meta_perser(model, Strengths(STRENGTHS)).personalizer(source)
    episodes = toy_episodes.episodes[:3]
    supports = [episode.support for episode in episodes] + [episodes[0].support.first(2)]
    for support, together in zip(supports, personalizer.personalize_many(supports), strict=True):
        alone = personalizer.personalize(support)
        queries = episodes[0].query_utterances
        np.testing.assert_allclose(together.predict_proba(queries), alone.predict_proba(queries), atol=1e-5)


def test_the_record_says_lambda_and_how_many_numbers_move(begun):
    model, source = begun
    personalizer = meta_perser(model, Strengths(STRENGTHS)).personalizer(source)
    assert personalizer.describe()["lambda"] == "weight 0.3, bias 0.5, scale 2"
    assert personalizer.parameters()["moved"] == (8 + 1) * len(model.emotions)


def test_a_new_head_is_held_to_the_prototypes_of_its_labels(begun, toy_corpus):
    model, source = begun
    names = [name for name in toy_corpus.utterances if name.split("-")[1] in ("angry", "sad")][:8]
    support = Support(tuple(names), tuple((name.split("-")[1],) for name in names), 0)
    labels = EmotionSet(("sad", "angry"))
    held = meta_perser(model, Strengths(torch.full((3,), 1e9))).personalizer(source).with_labels(labels)
    own = held.personalize(support)
    head = head_of_support(model.with_labels(labels), source, support, model.classifier)
    for name, weight in head.items():
        torch.testing.assert_close(own.weights[name], weight, rtol=1e-4, atol=1e-4)
    free = meta_perser(model, Strengths(STRENGTHS)).personalizer(source).with_labels(labels)
    before, after = (each.personalize(support).predict_proba(names) for each in (held, free))
    right = [labels.index(name.split("-")[1]) for name in names]
    rows = np.arange(len(names))
    assert np.log(after[rows, right]).mean() > np.log(before[rows, right]).mean()
    assert free.describe()["start"] == "prototypes"
    assert model.emotions == toy_corpus.emotions
