"""Answers for clips that have none of the enrolled labels."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from perser.cli.enroll import enroll
from perser.episodes.episode import Support
from perser.errors import UserError
from perser.inference.recognizer import PersonalRecognizer, Recognizer
from perser.labels import EmotionSet
from speechlm_icl.personalizer import OtherPredictor, SpeechLMPersonalizer
from speechlm_icl.prompt.demonstrations import DemonstrationOptions
from speechlm_icl.prompt.drawn_words import nouns
from speechlm_icl.prompt.prompt import PromptOptions
from speechlm_icl.train import check_other_word, icl_train
from speechlm_icl.training.options import IclOptions

OTHER = DemonstrationOptions(other=True)
QUERIES = [f"u{i}" for i in range(12, 30)]


@pytest.fixture
def trained(model):
    """A model that was trained to answer `other`."""
    own = copy.deepcopy(model)
    own.config.other_answers = True
    return own


def support(*words: str) -> Support:
    return Support(tuple(f"u{i}" for i in range(len(words))), tuple((word,) for word in words), seed=0)


def test_emotions_that_are_not_enrolled_share_what_other_has(trained, store):
    """By hand: with angry and sad enrolled, happy has all that `other` has."""
    pairs = support("sad", "angry", "sad")
    found = SpeechLMPersonalizer(trained, store, options=OTHER).personalize(pairs).predict_proba(QUERIES)
    labels = EmotionSet(("angry", "sad", "other"))
    own = SpeechLMPersonalizer(trained, store).with_labels(labels).personalize(pairs).predict_proba(QUERIES)
    np.testing.assert_allclose(found[:, [0, 2, 1]], own, atol=1e-6)
    assert found.dtype == np.float32


def test_several_emotions_share_it_as_they_are_answered_without_pairs(trained, store):
    pairs = support("happy")
    found = SpeechLMPersonalizer(trained, store, options=OTHER).personalize(pairs).predict_proba(QUERIES)
    plain = SpeechLMPersonalizer(trained, store, 0).personalize(pairs).predict_proba(QUERIES)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found[:, 0] / found[:, 2], plain[:, 0] / plain[:, 2], rtol=1e-3)


@pytest.mark.parametrize("words", [(), ("angry", "sad", "happy", "sad")])
def test_where_none_or_all_are_enrolled_nothing_changes(trained, store, words):
    answers = [
        SpeechLMPersonalizer(trained, store, options=options)
        .personalize(support(*words))
        .predict_proba(QUERIES)
        for options in (OTHER, DemonstrationOptions())
    ]
    np.testing.assert_array_equal(*answers)


def test_emotions_that_the_model_rules_out_share_it_evenly():
    class Fixed:
        def __init__(self, rows):
            self.rows = np.array(rows, dtype=np.float32)

        def predict_proba(self, utterances):
            return self.rows.copy()

    found = OtherPredictor(Fixed([[0.5, 0.5]]), Fixed([[1.0, 0.0, 0.0]]), [0]).predict_proba(["u"])
    np.testing.assert_allclose(found, [[0.5, 0.25, 0.25]])


def test_a_model_that_was_not_trained_for_it_is_refused(model, store):
    with pytest.raises(
        UserError, match=r"^speech-lm\+other: the model was not trained to answer other: train it"
    ):
        SpeechLMPersonalizer(model, store, options=OTHER)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, toy_corpus, toy_episodes_path):
    """A model that is trained for it in two steps."""
    place = tmp_path_factory.mktemp("other") / "speech-lm"
    options = {"steps": 2, "pairs": 4, "batch_size": 2, "validation_sequences": 2, "projector_steps": 2}
    shares = {"permute_labels": 0.5, "other_answers": 0.5, "opinion_pool": True}
    icl_train(
        toy_corpus.folder,
        toy_episodes_path,
        place,
        place.with_name("cache"),
        encoder="tiny-whisper",
        **options,
        **shares,
    )
    return place


def test_the_training_leaves_what_its_answers_need(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["other_answers"] is True
    assert config["opinion_pool"]["pairs"] == [0, 1, 2, 4]


@pytest.mark.parametrize("word", ["happy", nouns()[7]])
def test_a_label_cannot_also_be_the_word_for_none_of_them(word, toy_corpus, toy_episodes_path, tmp_path):
    """Both would be in one prompt, which the training would first meet at some step."""
    options = {"permute_labels": 0.5, "other_answers": 0.5, "encoder": "tiny-whisper"}
    with pytest.raises(UserError, match=rf"^prompt.other: .*'{word}' says .*: give another word"):
        icl_train(
            toy_corpus.folder,
            toy_episodes_path,
            tmp_path / "speech-lm",
            tmp_path / "cache",
            prompt=PromptOptions(other=word),
            **options,
        )
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (IclOptions(other_answers=0.5), "other"),
        (IclOptions(), "happy"),
        (IclOptions(other_answers=0.5, label_words="own"), nouns()[7]),
    ],
)
def test_other_words_for_none_of_the_labels_are_taken(options, word):
    check_other_word(options, PromptOptions(other=word), EmotionSet(("happy", "sad")))


def examples(toy_corpus, words):
    names = toy_corpus.recordings.utterance_ids
    return [(toy_corpus.recordings.path(names[i]), word) for i, word in enumerate(words)]


def test_open_labels_may_be_answered_with_none_of_them(folder, toy_corpus, tmp_path):
    recognizer = Recognizer.from_pretrained(folder)
    clip = toy_corpus.recordings.path(toy_corpus.recordings.utterance_ids[9])
    pairs = examples(toy_corpus, ["tired", "keen", "tired"])
    personal = recognizer.enroll(pairs, labels="open", other=True)
    assert personal.emotions.names == ("tired", "keen", "other")
    (before,) = personal.predict(clip)
    personal.save(tmp_path / "own.profile")
    loaded = PersonalRecognizer.load(tmp_path / "own.profile")
    (after,) = loaded.predict(clip)
    assert after.probabilities == pytest.approx(before.probabilities, abs=1e-6)
    more = loaded.enroll(examples(toy_corpus, [""] * 4 + ["odd"])[4:])
    assert more.emotions.names == ("tired", "keen", "other", "odd")


def test_a_word_that_is_enrolled_as_other_is_there_once(folder, toy_corpus):
    pairs = examples(toy_corpus, ["tired", "other"])
    personal = Recognizer.from_pretrained(folder).enroll(pairs, labels="open", other=True)
    assert personal.emotions.names == ("tired", "other")


def test_it_is_for_open_labels_and_models_that_were_trained_for_it(folder, toy_corpus, tmp_path):
    pairs = examples(toy_corpus, ["happy", "sad"])
    with pytest.raises(UserError, match=r"^other: it is for labels of a person's own"):
        Recognizer.from_pretrained(folder).enroll(pairs, other=True)
    model = Recognizer.from_pretrained(folder)
    model.model.model.config.other_answers = False
    with pytest.raises(
        UserError, match=r"^other: this model of the route speech-lm was not trained to answer"
    ):
        model.enroll(pairs, labels="open", other=True)
    with pytest.raises(UserError, match=r"^other: it is for a new profile with --open_labels true"):
        enroll(tmp_path / "none.csv", model=str(folder), out=tmp_path / "p.profile", other=True)
