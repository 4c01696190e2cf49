from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from benchmarks.few_shot.classifiers import (
    STRENGTHS,
    USUAL_STRENGTH,
    Features,
    best_elsewhere,
    logistic_regression,
    nearest_mean,
)
from benchmarks.few_shot.draws import Drawing, shuffled, single_label_tasks
from perser.episodes.episode import Task


@pytest.fixture
def task() -> Task:
    """A person with 20, 10 and 3 clips of three classes."""
    labels = [("a",)] * 20 + [("b",)] * 10 + [("c",)] * 3
    return Task("p", tuple(f"{words[0]}{place}" for place, words in enumerate(labels)), tuple(labels))


def test_so_many_clips_a_class_are_enrolled_and_the_rest_is_asked(task):
    draw = Drawing().draw(task, "shots", 2, 0)
    assert Counter(words[0] for words in draw.support.emotions) == {"a": 2, "b": 2, "c": 2}
    assert sorted([*draw.support.utterances, *draw.queries]) == sorted(task.utterances)
    assert all(name[0] == word for name, word in zip(draw.queries, draw.answers, strict=True))


def test_a_class_with_too_few_clips_is_not_asked_about(task):
    draw = Drawing().draw(task, "shots", 5, 0)
    assert draw.labels.names == ("a", "b")
    assert set(draw.answers) == {"a", "b"}
    assert Drawing().draw(task, "shots", 10, 0) is None


def test_a_larger_enrollment_has_the_clips_of_a_smaller_one(task):
    for setting in ("shots", "pairs"):
        small, large = (Drawing().draw(task, setting, count, 0) for count in (1, 2))
        assert set(small.support.utterances) < set(large.support.utterances)


def test_pairs_are_drawn_at_random_and_none_may_be_enough(task):
    draw = Drawing(asked=7).draw(task, "pairs", 8, 0)
    assert len(draw.support) == 8
    assert len(draw.queries) == 7
    nothing = Drawing().draw(task, "pairs", 0, 0)
    assert len(nothing.support) == 0
    assert nothing.labels.names == ("a", "b", "c")
    assert Drawing().draw(task, "pairs", 33, 0) is None


def enrolled(draw):
    words = (word for (word,) in draw.support.emotions)
    return list(zip(draw.support.utterances, words, strict=True))


def test_words_are_permuted_evenly_or_invented_and_their_order_says_nothing(task):
    permuted = Counter()
    for number in range(300):
        draw = Drawing("permuted").draw(task, "shots", 1, number)
        word = {name[0]: word for name, word in enrolled(draw)}
        assert sorted(word.values()) == ["a", "b", "c"]
        permuted[word["a"]] += 1
    assert all(70 < count < 130 for count in permuted.values())
    first = Counter()
    for number in range(300):
        draw = Drawing("invented").draw(task, "shots", 1, number)
        word = {word: name[0] for name, word in enrolled(draw)}
        assert not set(word) & {"a", "b", "c"}
        first[word[draw.labels.names[0]]] += 1
    assert all(70 < count < 130 for count in first.values())


def test_shuffling_keeps_clips_and_counts(task):
    draw = Drawing().draw(task, "shots", 3, 0) or Drawing().draw(task, "shots", 2, 0)
    changed = shuffled(draw)
    assert changed.support.utterances == draw.support.utterances
    assert Counter(changed.support.emotions) == Counter(draw.support.emotions)
    assert changed.support.emotions != draw.support.emotions
    assert changed.answers == draw.answers


def test_clips_with_several_labels_are_left_out_and_counted():
    task = Task("p", ("x", "y", "z"), (("a",), ("a", "b"), ("c",)))
    (kept,), several = single_label_tasks({"p": task}, ("a", "b"))
    assert kept.utterances == ("x",)
    assert several == 1


@pytest.fixture
def features(task) -> Features:
    rng = np.random.default_rng(0)
    centers = {name: rng.standard_normal(40) for name in "abc"}
    rows = [centers[name[0]] + 2 * rng.standard_normal(40) for name in task.utterances]
    return Features(np.array(rows), task.utterances)


def test_the_nearest_mean_is_scikit_learns(task, features):
    from sklearn.neighbors import NearestCentroid

    draw = Drawing().draw(task, "shots", 2, 0)
    words = [word for (word,) in draw.support.emotions]
    fitted = NearestCentroid().fit(features.of(draw.support.utterances), words)
    assert nearest_mean(draw, features) == list(fitted.predict(features.of(draw.queries)))


@pytest.mark.parametrize("strength", STRENGTHS)
def test_logistic_regression_in_the_span_of_the_clips_is_that_on_all_features(strength, task, features):
    from sklearn.linear_model import LogisticRegression

    draw = Drawing().draw(task, "shots", 2, 0)
    words = [word for (word,) in draw.support.emotions]
    whole = LogisticRegression(C=strength, max_iter=5000, tol=1e-8).fit(
        features.of(draw.support.utterances), words
    )
    given = logistic_regression(draw, features, strength)
    assert np.mean(np.array(given) == whole.predict(features.of(draw.queries))) > 0.95


def test_without_pairs_classifiers_have_no_answer_and_with_one_class_they_give_it(task, features):
    nothing = Drawing().draw(task, "pairs", 0, 0)
    assert nearest_mean(nothing, features) is None
    assert logistic_regression(nothing, features, 1.0) is None
    one = Drawing().draw(task, "pairs", 1, 0)
    word = one.support.emotions[0][0]
    assert set(nearest_mean(one, features)) == {word}
    assert set(logistic_regression(one, features, 1.0)) == {word}


def test_a_strength_is_chosen_on_the_other_persons():
    accuracies = {strength: {"x": [0.5], "y": [0.5]} for strength in STRENGTHS}
    accuracies[10.0] = {"x": [1.0], "y": [0.1]}
    accuracies[0.1] = {"x": [0.2], "y": [0.9]}
    assert best_elsewhere(accuracies) == {"x": [0.2], "y": [0.1]}
    alone = {strength: {"x": [strength]} for strength in STRENGTHS}
    assert best_elsewhere(alone) == {"x": [USUAL_STRENGTH]}
