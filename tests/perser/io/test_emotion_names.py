from __future__ import annotations

import importlib
import pkgutil

import pytest

import perser.corpora.readers
from perser.errors import UserError
from perser.io.emotion_names import NAMES, WORDS, emotion_word, emotion_words, own_word

REMEDY = "name them"


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("neu", "neutral"),
        ("Neutral state", "neutral"),
        ("NeutralState", "neutral"),
        ("HAPPY", "happy"),
        ("03-happy", "happy"),
        ("hap", "happy"),
        ("ang", "angry"),
        ("Anger", "angry"),
        ("fearful", "fear"),
        ("disgusted", "disgust"),
        ("Surprised", "surprise"),
        ("sadness", "sad"),
        ("生气/angry", "angry"),
        ("p_angry", "angry"),
        ("prob. of", None),
        ("emotion", None),
        ("yes", None),
        ("LABEL_0", None),
        ("", None),
    ],
)
def test_names_of_other_tools(name, word):
    assert emotion_word(name) == word


def test_the_emotions_of_all_corpora_have_their_own_words():
    """A label that a corpus uses must not become another word by the table."""
    for module in pkgutil.iter_modules(perser.corpora.readers.__path__):
        reader = importlib.import_module(f"perser.corpora.readers.{module.name}")
        for name, emotions in vars(reader).items():
            if name.endswith("EMOTIONS") and isinstance(emotions, tuple):
                assert [own_word(emotion) for emotion in emotions] == list(emotions), name


def test_no_name_stands_for_two_words():
    names = [name for word, others in NAMES.items() for name in (word, *others.split())]
    assert len(set(names)) == len(names)
    assert all(WORDS[name.replace("_", " ")] for name in names)


def test_labels_of_a_checkpoint_are_mapped_in_their_order():
    assert emotion_words(["neu", "hap", "ang", "sad"], "it", REMEDY) == ("neutral", "happy", "angry", "sad")
    assert emotion_words(["angry", "HAPPY", "Wistful"], "it", REMEDY) == ("angry", "happy", "wistful")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["LABEL_0", "LABEL_1"], "it has labels without a name (LABEL_0, LABEL_1): name them"),
        (["0", "1", "2"], "it has labels without a name (0, 1, 2): name them"),
        (["angry", ""], "it has labels without a name (''): name them"),
        (
            ["yes", "no", "up", "down", "left"],
            "the labels of it are no emotions (yes, no, up, down, ...): name",
        ),
        (["happy", "joy", "sad"], "it: the labels happy and joy are both happy: name them"),
    ],
)
def test_labels_that_say_no_emotion_are_refused(names, said):
    with pytest.raises(UserError) as error:
        emotion_words(names, "it", REMEDY)
    assert said in str(error.value)
