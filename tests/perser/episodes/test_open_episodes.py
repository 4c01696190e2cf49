from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perser.episodes.draw import draw_episodes
from perser.episodes.episode import Task
from perser.episodes.episode_file import EpisodeFile
from perser.episodes.open_episodes import OpenClasses, draw_open_episode, made_up_words
from perser.episodes.splits import SplitOptions
from perser.errors import UserError
from perser.labels import EmotionSet

OPEN = SplitOptions(scenario="open", folds=4, validation_persons=2)


@pytest.fixture(scope="module")
def task() -> Task:
    """A speaker with 12 clips of each of four emotions, and some with two labels."""
    labels = [(word,) for word in ("angry", "happy", "neutral", "sad") for _ in range(12)]
    labels += [("angry", "sad")] * 5
    return Task("p", tuple(f"u{place}" for place in range(len(labels))), tuple(labels))


def draws(task, held_out=(), k=6, q=8, count=40):
    classes = OpenClasses.of(task, k, k + q, held_out)
    return [draw_open_episode(task, q, seed, k, k, classes) for seed in range(count)]


def test_an_episode_has_some_classes_each_once_in_the_support(task):
    episodes = draws(task)
    assert {len(episode.words) for episode in episodes} == {2, 3, 4}
    for episode in episodes:
        classes = {emotion for emotion, _ in episode.words}
        assert {words[0] for words in episode.support.emotions} == classes
        assert {words[0] for words in episode.query_emotions} <= classes
        assert len(episode.support) == 6
        assert len(episode.query_utterances) == 8
        assert not set(episode.support.utterances) & set(episode.query_utterances)
        assert len({word for _, word in episode.words}) == len(classes)


def test_a_method_gets_the_words_alone(task):
    for episode in draws(task):
        words = dict(episode.words)
        question = episode.question
        assert question.labels == tuple(sorted(words.values()))
        truth = [(words[emotion],) for (emotion,) in episode.support.emotions]
        assert list(question.support.emotions) == truth
        assert not set(question.labels) & {"angry", "happy", "neutral", "sad"}


def test_the_columns_are_the_classes_in_the_order_of_the_labels(task):
    emotions = EmotionSet(("angry", "happy", "neutral", "sad"))
    for episode in draws(task):
        emotion_of = {word: emotion for emotion, word in episode.words}
        expected = [emotions.index(emotion_of[word]) for word in episode.question.labels]
        assert episode.columns(emotions) == expected


def test_the_order_of_the_labels_says_nothing_about_the_classes(task):
    episodes = draws(task, ("angry", "sad"))
    first = [min(episode.words, key=lambda pair: pair[1])[0] for episode in episodes]
    assert 8 <= first.count("angry") <= 32


def test_held_out_emotions_are_told_from_each_other(task):
    for episode in draws(task, ("happy", "sad")):
        assert {emotion for emotion, _ in episode.words} == {"happy", "sad"}
    for episode in draws(task, ("happy",)):
        classes = {emotion for emotion, _ in episode.words}
        assert "happy" in classes
        assert len(classes) > 1


def test_a_smaller_support_is_the_beginning_of_a_larger_one(task):
    classes = OpenClasses.of(task, 4, 18, ())
    small, large = (draw_open_episode(task, 8, 3, k, 10, classes) for k in (4, 10))
    assert small.query_utterances == large.query_utterances
    assert large.support.utterances[:4] == small.support.utterances


def test_a_person_with_too_few_clips_is_left_out(task):
    assert OpenClasses.of(task, 6, 49, ()).sizes == []
    assert OpenClasses.of(task, 6, 48, ()).sizes == [4]
    assert OpenClasses.of(task, 6, 14, ("happy", "fear")).sizes == []
    with pytest.raises(ValueError, match="too few clips"):
        OpenClasses.of(task, 6, 49, ()).draw(np.random.default_rng(0))


def test_many_classes_get_two_words_each():
    words = made_up_words(100, np.random.default_rng(0))
    assert len(set(words)) == 100


def test_nobody_is_trained_on_an_emotion_that_is_held_out(toy_corpus, tmp_path):
    split = replace(OPEN, held_out_emotions=["happy", "sad"])
    drawn = draw_episodes(toy_corpus, split, k=3, q=3, seeds=2)
    for subset in ("train", "validation"):
        tasks = drawn.tasks(toy_corpus, subset)
        assert tasks
        assert not {word for task in tasks for words in task.emotions for word in words} & {"happy", "sad"}
    assert all(not episode.words for episode in drawn.validation_episodes)
    assert drawn.is_open
    drawn.save(tmp_path / "open.json")
    assert EpisodeFile.load(tmp_path / "open.json") == drawn


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"mode": "missing"}, "mode: 'missing' cannot be drawn in the scenario open"),
        ({"split": replace(OPEN, held_out_emotions=["joy"])}, "unknown emotion 'joy'"),
        (
            {"split": replace(OPEN, held_out_emotions=["angry", "happy", "neutral", "sad"])},
            "nothing to train",
        ),
        ({"k": 1}, "clips of the classes of an open episode"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, problem, toy_corpus):
    with pytest.raises(UserError, match=problem):
        draw_episodes(toy_corpus, **{"split": OPEN, "k": 4, "q": 4, "seeds": 1} | options)


def test_held_out_emotions_need_the_scenario_open():
    with pytest.raises(ValueError, match="held_out_emotions needs scenario: open, not speaker"):
        SplitOptions(scenario="speaker", held_out_emotions=["sad"])
