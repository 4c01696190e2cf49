from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perser.errors import UserError
from perser.labels import EmotionSet, decide, open_labels, parse_emotions

EMOTIONS = EmotionSet(("angry", "happy", "neutral", "sad", "fear", "disgust"))
label_sets = st.lists(
    st.lists(st.sampled_from(EMOTIONS.names), min_size=1, unique=True).map(tuple), min_size=1, max_size=20
)


@given(label_sets)
def test_multi_hot_and_words_are_inverse(labels):
    rows = EMOTIONS.multi_hot(labels)
    assert [set(EMOTIONS.words(row)) for row in rows] == [set(emotions) for emotions in labels]


@given(label_sets)
def test_a_response_is_spread_evenly(labels):
    rows = EMOTIONS.distribution(labels)
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-6)
    for row, emotions in zip(rows, labels, strict=True):
        assert set(np.unique(row.round(6))) <= {0.0, np.float32(1 / len(emotions)).round(6)}


def test_unknown_words_are_named():
    with pytest.raises(UserError, match=r"unknown emotion 'hungry'.*angry, happy"):
        EMOTIONS.multi_hot([("hungry",)])


def test_an_annotation_without_emotion_is_refused():
    with pytest.raises(UserError, match="without any emotion"):
        EMOTIONS.multi_hot([()])


@pytest.mark.parametrize("names", [(), ("angry",), ("angry", "angry")])
def test_an_emotion_set_has_two_or_more_different_words(names):
    with pytest.raises(UserError):
        EmotionSet(names)


@given(label_sets.map(lambda labels: labels[0]), st.sampled_from([";", " ; ", ";;", "; \t"]))
def test_parsing_ignores_case_spaces_and_repeats(emotions, separator):
    text = separator.join(word.title() for word in (*emotions, emotions[0]))
    assert parse_emotions(text) == emotions


def test_an_empty_cell_has_no_emotion():
    assert parse_emotions(" ; ") == ()


@given(st.integers(2, 40), st.sampled_from([np.float32, np.float64]))
def test_a_uniform_row_gives_no_label(size, dtype):
    assert not decide(np.full((3, size), 1 / size, dtype=dtype)).any()


def test_a_probability_of_exactly_1_over_c_gives_no_label():
    chosen = decide(np.array([[0.26, 0.25, 0.25, 0.24]]))
    assert chosen.tolist() == [[True, False, False, False]]


def test_open_labels_are_the_words_that_occur_in_lower_case():
    spelled = ["Sarcastic", "very tired", "Sarcastic", "zmęczony", "थका हुआ", "so-so", "can't"]
    expected = ("sarcastic", "very tired", "zmęczony", "थका हुआ", "so-so", "can't")
    assert open_labels(spelled).names == expected


@pytest.mark.parametrize(
    ("spelled", "problem"),
    [
        (["tired", "much too tired"], "'much too tired' cannot be a label: give one word or two"),
        (["tired", "x1"], "'x1' cannot be a label"),
        (["tired", "-"], "'-' cannot be a label"),
        (["tired", "a" * 41], "cannot be a label"),
        (["tired", ""], "'' cannot be a label"),
        (["Tired", "calm", "tired"], "'Tired' and 'tired' differ only in capitals"),
        (["tired", "tired"], "at least two to choose from, and only 'tired' is given"),
        ([], "at least two to choose from, and none is given"),
    ],
)
def test_open_labels_that_cannot_be_learned_are_refused(spelled, problem):
    with pytest.raises(UserError, match=problem):
        open_labels(spelled)
