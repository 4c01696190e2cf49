"""Methods on open episodes: what they get, and how their answers are scored."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.measuring.answer import answer_episodes, score_answers
from benchmarks.trivial_baselines import most_frequent
from perser.episodes.draw import draw_episodes
from perser.episodes.splits import SplitOptions
from perser.errors import UserError
from perser.installed_routes import check_method
from perser.personalizer import Personalizer, RouteContext


class Knowing(Personalizer):
    """Answers with the word that a clip's name stands for, and keeps what it was given."""

    route = "knowing"

    def __init__(self, episodes):
        self.episodes = {episode.question.support: episode for episode in episodes}
        self.seen = []

    def with_labels(self, labels):
        self.labels = labels.names
        return self

    def personalize(self, support):
        self.seen.append((self.labels, support))
        episode = self.episodes[support]
        self.truth = dict(zip(episode.query_utterances, episode.query_emotions, strict=True))
        self.words = dict(episode.words)
        return self

    def predict_proba(self, utterances):
        said = [self.words[self.truth[name][0]] for name in utterances]
        right = np.array([[word == label for label in self.labels] for word in said])
        return (0.1 + 0.8 * right).astype(np.float32) / np.float32(0.8 + 0.1 * len(self.labels))


@pytest.fixture(scope="module")
def episodes(toy_corpus):
    return draw_episodes(toy_corpus, SplitOptions(scenario="open"), k=5, q=6, seeds=3).episodes


def test_answers_about_words_are_scored_on_the_classes_of_the_episode(toy_corpus, episodes):
    method = Knowing(episodes)
    answers = answer_episodes(method, episodes, toy_corpus.emotions, "open")
    for answer, episode in zip(answers, episodes, strict=True):
        assert answer.probabilities.shape == (6, 4)
        absent = [place for place in range(4) if place not in episode.columns(toy_corpus.emotions)]
        assert not answer.probabilities[:, absent].any()
    for scores, episode in zip(score_answers(answers, episodes, toy_corpus.emotions), episodes, strict=True):
        size = len(episode.words)
        assert scores.metrics["wa"] == 1
        assert scores.metrics["label_accuracy"] == 1
        assert scores.metrics["log_loss"] == pytest.approx(-np.log(0.9 / (0.8 + 0.1 * size)), rel=1e-5)
    named = {word for labels, support in method.seen for word in (*labels, *sum(support.emotions, ()))}
    assert not named & set(toy_corpus.emotions.names), "no method is told an emotion"


def test_a_method_that_cannot_learn_labels_is_refused_before_anything_runs(toy_corpus, episodes):
    with pytest.raises(UserError, match="'entire-zero' cannot learn the labels of open episodes: measure "):
        check_method("entire-zero", 5, open_labels=True)
    check_method("meta-perser", 5, open_labels=True)
    check_method("speech-lm-2", 5, open_labels=True)


def test_the_most_frequent_word_of_the_support_is_a_baseline(toy_corpus, episodes, tmp_path):
    context = RouteContext(toy_corpus.emotions, toy_corpus.recordings, tmp_path, tmp_path)
    answers = answer_episodes(most_frequent(context), episodes, toy_corpus.emotions, "open")
    for answer, episode in zip(answers, episodes, strict=True):
        counts = toy_corpus.emotions.multi_hot(episode.support.emotions).sum(axis=0)
        assert counts[answer.probabilities[0].argmax()] == counts.max()
