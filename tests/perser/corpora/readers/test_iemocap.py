from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perser.corpora.corpus import write_corpus
from perser.corpora.readers.iemocap import EMOTIONS, parse_evaluation, read_iemocap
from perser.errors import UserError

from .miniature_iemocap import MiniatureIemocap, write_iemocap

MEANING = {
    "Frustration": "frustrated",
    "Anger": "angry",
    "Sadness": "sad",
    "Disgust": "disgust",
    "Excited": "excited",
    "Fear": "fear",
    "Neutral": "neutral",
    "Neutral state": "neutral",
    "Surprise": "surprise",
    "Happiness": "happy",
}
HEAD = "[6.2901 - 8.2357]\t{}\tneu\t[2.5000, 2.5000, 2.5000]\n"


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> MiniatureIemocap:
    return write_iemocap(tmp_path_factory.mktemp("iemocap"), dialogs=3, turns=8)


def test_labels_are_those_of_each_listener(miniature: MiniatureIemocap):
    listing = read_iemocap(miniature.root)
    expected = {
        key: tuple(MEANING[word] for word in words if word != "Other")
        for key, words in miniature.responses.items()
        if words != ("Other",)
    }
    assert {
        (annotation.utterance_id, annotation.listener): annotation.emotions
        for annotation in listing.annotations
    } == expected
    assert listing.left_out == []
    assert listing.notes == []
    assert any(len(annotation.emotions) > 1 for annotation in listing.annotations)


def test_other_is_dropped_and_counted(miniature: MiniatureIemocap):
    words = list(miniature.responses.values())
    assert read_iemocap(miniature.root).dropped == {
        "other": sum("Other" in response for response in words),
        "responses of other alone": words.count(("Other",)),
    }


def test_the_nine_emotions_are_in_the_order_of_the_paper():
    assert " ".join(EMOTIONS) == "frustrated angry sad disgust excited fear neutral surprise happy"


def test_evaluators_label_all_sessions_and_actors_their_own(miniature: MiniatureIemocap):
    listing = read_iemocap(miniature.root)
    sessions: dict[str, set[str]] = {}
    of_utterance = {row.utterance_id: row.session for row in listing.utterances}
    for annotation in listing.annotations:
        sessions.setdefault(annotation.listener, set()).add(of_utterance[annotation.utterance_id])
    assert sessions["E1"] == set("12345")
    assert {listener: found for listener, found in sessions.items() if listener.startswith("Ses")} == {
        f"Ses0{session}_{actor}": {session} for session in "12345" for actor in "FM"
    }


def test_utterances_have_speaker_session_and_transcript(miniature: MiniatureIemocap):
    rows = {row.utterance_id: row for row in read_iemocap(miniature.root).utterances}
    assert {name: row.text for name, row in rows.items()} == miniature.texts
    # The dialog's F or M says who wore the markers; the last part says who speaks.
    row = rows["Ses03F_impro01_M001"]
    assert (row.speaker, row.session) == ("Ses03_M", "3")
    assert row.audio == "Session3/sentences/wav/Ses03F_impro01/Ses03F_impro01_M001.wav"


def test_the_listing_becomes_a_prepared_corpus(miniature: MiniatureIemocap, tmp_path: Path):
    corpus = write_corpus(read_iemocap(miniature.root), tmp_path / "out")
    assert len(corpus.utterances) == len(miniature.texts)
    assert corpus.card["counts"]["speakers"] == 10
    assert corpus.simulated is False


WORDS = st.lists(st.sampled_from([*MEANING, "Other"]), min_size=1, max_size=4, unique=True)
COMMENT = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=12)
LISTENERS = {"E1": "E1", "E12": "E12", "F1": "Ses04_F", "M1": "Ses04_M", "M2": "Ses04_M"}


@given(
    st.dictionaries(
        st.sampled_from([f"Ses04M_script03_2_F{number:03d}" for number in range(5)]),
        st.dictionaries(st.sampled_from(["E1", "E12", "F1", "M1"]), st.tuples(WORDS, COMMENT)),
    )
)
def test_response_lines_round_trip(blocks: dict[str, dict[str, tuple[list[str], str]]]):
    text = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    expected, other = {}, 0
    for utterance, responses in blocks.items():
        text += HEAD.format(utterance)
        for who, (words, comment) in responses.items():
            text += f"C-{who}:\t{' '.join(word + ';' for word in words)}\t({comment})\n"
            text += f"A-{who}:\tval 3; act 2; dom  2;\t()\n"
            other += "Other" in words
            kept = {MEANING[word] for word in words if word != "Other"}
            if kept:
                expected[utterance, LISTENERS[who]] = kept
        text += "\n"
    found = parse_evaluation(text, "4", "file.txt")
    assert {
        (annotation.utterance_id, annotation.listener): set(annotation.emotions)
        for annotation in found.annotations
    } == expected
    assert all(len(set(annotation.emotions)) == len(annotation.emotions) for annotation in found.annotations)
    assert found.dropped["other"] == other
    assert found.left_out == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("C-E2:\tNeutral; Bored;\t()", "unknown emotion 'bored'"),
        ("C-E2:\t\t()", "a response without any emotion"),
        ("C-X2:\tNeutral;\t()", "a response that cannot be read"),
        ("C-E2 Neutral", "a response that cannot be read"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(line: str, reason: str):
    found = parse_evaluation(HEAD.format("a_F000") + line + "\nC-E3:\tFear;\t()\n", "1", "d/x.txt")
    assert [(item.what, item.reason) for item in found.left_out] == [("d/x.txt:2", reason)]
    assert [annotation.listener for annotation in found.annotations] == ["E3"]


def test_responses_after_a_broken_block_head_are_left_out():
    text = HEAD.format("a_F000") + "C-E1:\tFear;\t()\n[6.29 - ]\tb_F001\nC-E1:\tAnger;\t()\n"
    found = parse_evaluation(text, "1", "x.txt")
    assert [(annotation.utterance_id, annotation.emotions) for annotation in found.annotations] == [
        ("a_F000", ("fear",))
    ]
    assert Counter(item.what for item in found.left_out) == {"x.txt:3": 1, "x.txt:4": 1}


def test_a_missing_session_is_noted(tmp_path: Path):
    write_iemocap(tmp_path, sessions=2)
    assert read_iemocap(tmp_path).notes == ["sessions not there: 3, 4, 5"]


def test_the_error_for_another_layout_says_what_was_expected(tmp_path: Path):
    with pytest.raises(UserError, match="is not a folder"):
        read_iemocap(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no Session1/ to Session5/"):
        read_iemocap(tmp_path)
    (tmp_path / "Session1").mkdir()
    with pytest.raises(UserError, match=r"no Session\*/sentences/wav"):
        read_iemocap(tmp_path)
