"""The gradient route's methods with features standardized by other clips than those of the training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meta_perser.recognizer.batches import ClipSource
from perser.episodes.episode import Support
from perser.errors import UserError
from perser.installed_routes import build_method
from perser.labels import EmotionSet

METHODS = ("entire-zero", "prior-shift", "head-few", "entire-sim", "multi-few", "meta-perser")


@pytest.fixture(scope="module")
def support(toy_episodes):
    return toy_episodes.episodes[0].support


@pytest.fixture(scope="module")
def queries(toy_episodes):
    return list(toy_episodes.episodes[0].query_utterances)


def test_states_have_mean_0_and_deviation_1_over_the_clips_of_the_corpus(trained):
    plain, moved = (build_method(name, trained) for name in ("meta-perser", "meta-perser+standardize=corpus"))
    names = trained.recordings.utterance_ids
    source = ClipSource(trained.recordings, plain.model, trained.cache)
    with torch.no_grad():
        states = moved._base.model.states(source.batch(names)).double().numpy()
        raw = plain.model.pooled_states(source.batch(names)).double().numpy()
    np.testing.assert_allclose(states, (raw - raw.mean(axis=0)) / raw.std(axis=0), atol=2e-3)
    assert torch.equal(moved._base.model.classifier.weight, plain.model.classifier.weight)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("by", ["corpus", "enrolled"])
def test_every_method_answers_otherwise_and_leaves_the_model_as_it_is(name, by, trained, support, queries):
    plain = build_method(name, trained)
    before = plain.personalize(support).predict_proba(queries)
    moved = build_method(f"{name}+standardize={by}", trained)
    answers = moved.personalize(support).predict_proba(queries)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    assert np.abs(answers - before).max() > 1e-6
    assert np.array_equal(plain.personalize(support).predict_proba(queries), before)
    assert moved.describe()["standardized by"] == by
    assert moved.route == plain.route


def test_by_the_enrolled_clips_the_other_clips_do_not_matter(trained, support, queries):
    """One query at a time gives the same answers: nothing is learned from the queries."""
    method = build_method("meta-perser+standardize=enrolled", trained)
    together = method.personalize(support).predict_proba(queries)
    alone = [method.personalize(support).predict_proba([name])[0] for name in queries]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_other_labels_are_learned_with_it(trained, support, queries):
    words = {"angry": "dax", "happy": "wug", "neutral": "fep", "sad": "zup"}
    said = tuple(tuple(words[word] for word in labels) for labels in support.emotions)
    own = Support(support.utterances, said, support.seed)
    method = build_method("head-few+standardize=enrolled", trained).with_labels(
        EmotionSet(tuple(sorted(words.values())))
    )
    assert method.personalize(own).predict_proba(queries).shape == (len(queries), 4)


def test_a_method_without_a_model_is_refused(trained):
    with pytest.raises(UserError, match="standardizes no features"):
        build_method("random+standardize=corpus", trained)
