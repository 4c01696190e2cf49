"""The regression on the encoder's features, and its mixture with what the language model says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.linear_model import Ridge

from perser.episodes.episode import Support
from perser.labels import EmotionSet
from speechlm_icl.inference import SpeechLMReader
from speechlm_icl.personalizer import SpeechLMPersonalizer
from speechlm_icl.prompt.demonstrations import DemonstrationOptions, parse_demonstration_options
from speechlm_icl.scoring.matching import (
    PARTS,
    PRECISION,
    PRIOR,
    RIDGE,
    SCALE,
    Matcher,
    choose_mixture,
    fit_mixture,
    flat_features,
    mixed,
    ridge_scores,
    stratified_parts,
)

RNG = np.random.default_rng(0)


def one_hot(labels, count=3):
    return np.eye(count)[np.asarray(labels)]


def test_the_scores_are_those_of_a_ridge_regression():
    enrolled, queries = RNG.standard_normal((12, 40)), RNG.standard_normal((5, 40))
    targets = one_hot(RNG.integers(3, size=12))
    oracle = Ridge(alpha=RIDGE * 40).fit(enrolled, targets)
    expected = SCALE * (oracle.predict(queries) - targets.mean(axis=0))
    np.testing.assert_allclose(ridge_scores(enrolled, targets, queries), expected, rtol=1e-8, atol=1e-10)


def test_the_mixture_is_the_most_likely_one_under_the_prior():
    probabilities = softmax(RNG.standard_normal((30, 3)), axis=1)
    scores, targets = RNG.standard_normal((30, 3)), one_hot(RNG.integers(3, size=30))

    def objective(language, matching):
        logs = log_softmax(language * np.log(probabilities) + matching * scores, axis=1)
        apart = np.array([language, matching]) - PRIOR
        return -(targets * logs).sum() + (np.array(PRECISION) * apart**2).sum() / 2

    found = fit_mixture(probabilities, scores, targets)
    grid = [(a, b) for a in np.arange(0, 2, 0.01) for b in np.arange(0, 2, 0.01)]
    best = min(grid, key=lambda pair: objective(*pair))
    assert found == pytest.approx(best, abs=0.011)
    assert objective(*found) <= objective(*best) + 1e-9


def test_whoever_is_right_about_many_clips_counts_more():
    truth = one_hot(RNG.integers(3, size=200))
    right, wrong = 0.05 + 0.85 * truth, 0.05 + 0.85 * one_hot(RNG.integers(3, size=200))
    noise = RNG.standard_normal((200, 3))
    language = fit_mixture(right, noise, truth)
    assert language.language > 2 * language.matching
    matching = fit_mixture(wrong, 3 * truth, truth)
    assert matching.matching > 2 * matching.language
    assert fit_mixture(wrong[:0], noise[:0], truth[:0]) == pytest.approx(PRIOR)


def test_parts_hold_few_clips_of_a_label_each():
    targets = one_hot([0] * 5 + [1] * 5 + [2] * 2)
    parts = stratified_parts(targets, seed=3)
    assert set(parts) == set(range(PARTS))
    for label in range(3):
        own = parts[targets[:, label] == 1]
        assert len(set(own)) == len(own)


def test_a_clip_with_a_label_of_its_own_is_not_answered():
    targets, asked = one_hot([0, 0, 1, 1, 2]), []

    def answer(learned, places):
        assert not set(learned) & set(places)
        asked.extend(places)
        return np.full((len(places), 3), 1 / 3)

    choose_mixture(RNG.standard_normal((5, 8)), targets, answer, seed=0)
    assert sorted(asked) == [0, 1, 2, 3]


def test_the_prior_decides_where_there_is_one_clip_of_each_label():
    def never(learned, places):
        raise AssertionError("nothing can be asked")

    assert choose_mixture(RNG.standard_normal((3, 8)), one_hot([0, 1, 2]), never, seed=0) == PRIOR


def test_features_of_clips_with_windows_are_means_over_time():
    clips = [torch.randn(4, 2, 3), torch.randn(7, 2, 3)]
    mean, spread = torch.randn(2, 3), torch.rand(2, 3) + 0.5
    expected = [((clip.mean(dim=0) - mean) / spread).flatten().numpy() for clip in clips]
    np.testing.assert_allclose(flat_features(clips, mean, spread), np.stack(expected), rtol=1e-5)


SUPPORT = Support(
    tuple(f"u{i}" for i in range(12)), tuple((("angry", "happy", "sad")[i % 3],) for i in range(12)), seed=0
)
QUERIES = [f"u{i}" for i in range(12, 60)]
TRUTH = np.array([i % 3 for i in range(12, 60)])
MATCHED = DemonstrationOptions(matched=True)


def test_an_untrained_model_learns_new_labels_by_matching(model, store):
    plain = SpeechLMPersonalizer(model, store).personalize(SUPPORT).predict_proba(QUERIES)
    matched = SpeechLMPersonalizer(model, store, options=MATCHED).personalize(SUPPORT).predict_proba(QUERIES)
    assert (plain.argmax(axis=1) == TRUTH).mean() < 0.6
    assert (matched.argmax(axis=1) == TRUTH).mean() > 0.9
    assert matched.dtype == np.float32
    np.testing.assert_allclose(matched.sum(axis=1), 1, atol=1e-6)


def test_the_probabilities_are_those_of_the_mixture_by_hand(model, store):
    predictor = SpeechLMPersonalizer(model, store, options=MATCHED).personalize(SUPPORT)
    plain = SpeechLMPersonalizer(model, store).personalize(SUPPORT).predict_proba(QUERIES)
    features = flat_features(store.stack(QUERIES), model.projector.mean, model.projector.std)
    scores = ridge_scores(predictor.matcher.features, predictor.matcher.targets, features)
    expected = np.exp(mixed(plain, scores, predictor.matcher.mixture))
    np.testing.assert_allclose(predictor.predict_proba(QUERIES), expected, atol=1e-6)


def test_without_two_labels_nothing_is_matched(model, store):
    for support in (Support((), (), seed=0), Support(("u0", "u3"), (("angry",), ("angry",)), seed=0)):
        plain = SpeechLMPersonalizer(model, store).personalize(support)
        matched = SpeechLMPersonalizer(model, store, options=MATCHED).personalize(support)
        np.testing.assert_array_equal(plain.predict_proba(QUERIES), matched.predict_proba(QUERIES))


def test_a_model_can_be_matched_by_itself_and_keeps_it(model, store):
    model.config.matched = True
    personalizer = SpeechLMPersonalizer(model, store)
    by_option = SpeechLMPersonalizer(model, store, options=MATCHED).personalize(SUPPORT)
    personal = personalizer.personalize(SUPPORT)
    np.testing.assert_array_equal(personal.predict_proba(QUERIES), by_option.predict_proba(QUERIES))
    assert personalizer.describe() == {"pairs": "all", "matched": True}
    reader = SpeechLMReader(model, personal.enrollments, personal.matcher)
    np.testing.assert_array_equal(reader.predict_proba(store, QUERIES), personal.predict_proba(QUERIES))


def test_labels_of_a_persons_own_are_matched(model, store):
    words = EmotionSet(("tired", "keen", "odd"))
    own = Support(SUPPORT.utterances, tuple((words.names[i % 3],) for i in range(12)), seed=0)
    personalizer = SpeechLMPersonalizer(model, store, options=MATCHED).with_labels(words)
    found = personalizer.personalize(own).predict_proba(QUERIES)
    assert (found.argmax(axis=1) == TRUTH).mean() > 0.9


def test_a_methods_name_turns_it_on():
    assert parse_demonstration_options(["matched"]) == MATCHED
    assert isinstance(Matcher(np.zeros((1, 2)), np.ones((1, 1)), PRIOR), Matcher)
