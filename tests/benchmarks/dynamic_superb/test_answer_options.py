"""The options are read from instructions as real instances write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.dynamic_superb.answer_options import normalize, options_in_instruction

SEVEN = ("anger", "disgust", "sadness", "joy", "neutral", "surprise", "fear")


@pytest.mark.parametrize(
    ("instruction", "options"),
    [
        (
            "Recognize and organize the emotional expressions in the spoken words. The answer could be "
            "anger, disgust, sadness, joy, neutral, surprise, or fear.",
            SEVEN,
        ),
        ("Can you tell me the emotion? The answer could be happy, sad or angry.", ("happy", "sad", "angry")),
        ("Do they match? The answer could be yes or no.", ("yes", "no")),
        ("Do they match? The answer could be 'yes' or \"no\"", ("yes", "no")),
        ("The answer could be “true”, or “false”. Listen to both.", ("true", "false")),
        ("The answer could be yes or no. Listen to both recordings first.", ("yes", "no")),
        ("The answer could be yes or no. Now give your answer please.", ("yes", "no")),
        ("The answer could be", ()),
        ("The answers can be: A; B; or C", ("A", "B", "C")),
        ("The answer could be one of the following: C#, Db, or B.", ("C#", "Db", "B")),
        ("The answer should be either rock and roll or jazz.", ("rock and roll", "jazz")),
        ("The answer could be low or middle or high", ("low", "middle", "high")),
        ("The answer could be happy, sad, and angry.", ("happy", "sad", "angry")),
        ("Which accent? The answer could be U.S. English, Indian English, or other.",
         ("U.S. English", "Indian English", "other")),
        ("Which answer is right? The answer could be -5, 0, or 2.5.", ("-5", "0", "2.5")),
        ("THE ANSWER COULD BE\nyes or no", ("yes", "no")),
        ("How natural is it, from 1 to 5?", ()),
        ("Write down what is said.", ()),
    ],
)  # fmt: skip
def test_the_options_are_read_from_an_instruction(instruction, options):
    assert options_in_instruction(instruction) == options


words = st.lists(
    st.text("abcdefgh#-", min_size=1, max_size=8).map(lambda word: f"x{word}"), min_size=2, unique=True
)


@given(words, st.sampled_from([", or ", " or "]), st.booleans())
def test_a_written_list_is_read_back(options, last, stop):
    listed = ", ".join(options[:-1]) + last + options[-1]
    assert options_in_instruction(f"Which? The answer could be {listed}{'.' if stop else ''}") == tuple(
        options
    )


@pytest.mark.parametrize("answer", ["happy", " Happy.", "'HAPPY'!\n", "**happy**", "“happy”"])
def test_case_and_outer_punctuation_are_ignored(answer):
    assert normalize(answer) == "happy"


def test_signs_that_tell_answers_apart_are_compared():
    assert (
        len({normalize(answer) for answer in ("-5", "5", "C", "C#", "un happy", "unhappy", "😀", "😢")}) == 8
    )
