from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from perser.corpora.corpus import write_corpus
from perser.corpora.listing import is_unknown_listener
from perser.corpora.readers.cremad import EMOTIONS, read_cremad
from perser.errors import UserError

from .tones import write_tone

VOTES = {
    # clip: voice-only votes for A D F H N S
    "1001_DFA_ANG_XX": (9, 1, 0, 0, 0, 0),
    "1001_IEO_HAP_HI": (0, 0, 0, 8, 2, 0),
    "1002_ITH_NEU_XX": (0, 1, 0, 0, 8, 1),
    "1003_TSI_SAD_XX": (0, 0, 2, 0, 3, 5),
}
RESPONSES = """,localid,pos,queryType,clipName,respEmo,respLevel,dispEmo
1,SSI_1,33,1,1001_DFA_ANG_XX,A,18,A
2,SSI_1,34,1,1001_IEO_HAP_HI,N,18,H
3,SSI_2,34,1,1001_DFA_ANG_XX,D,18,A
4,SSI_2,34,2,1002_ITH_NEU_XX,F,18,N
5,SSI_2,34,3,1002_ITH_NEU_XX,F,18,N
6,SSI_3,34,1,1002_ITH_NEU_XX,S,18,N
7,SSI_3,35,1,1002_ITH_NEU_XX,N,18,N
8,SSI_3,36,1,1091_ITH_NEU_XX,N,18,N
9,SSI_3,37,1,1003_TSI_SAD_XX,Q,18,S
"""


def write_cremad(root: Path, suffix: str = ".wav", responses: bool = False) -> Path:
    for number, clip in enumerate(VOTES):
        write_tone(root / "AudioWAV" / f"{clip}{suffix}", pitch=150 + 50 * number)
    rows = ['"","A","D","F","H","N","S","fileName","numResponses"']
    for kind in (0, 100_000, 200_000):  # face and voice, voice only, face only
        for number, (clip, votes) in enumerate(VOTES.items(), start=1):
            counts = votes if kind == 100_000 else (1,) * 6
            rows.append(f'"{kind + number}",{",".join(map(str, counts))},"{clip}",10')
    (root / "processedResults").mkdir()
    (root / "processedResults" / "tabulatedVotes.csv").write_text("\n".join(rows) + "\n")
    if responses:
        (root / "finishedResponses.csv").write_text(RESPONSES)
    return root


def test_real_listeners_are_the_voice_only_responses(tmp_path: Path):
    corpus = write_corpus(read_cremad(write_cremad(tmp_path / "in", responses=True)), tmp_path / "out")
    assert [
        (annotation.utterance_id, annotation.listener, annotation.emotions)
        for annotation in corpus.annotations
    ] == [
        ("1001_DFA_ANG_XX", "SSI_1", ("angry",)),
        ("1001_DFA_ANG_XX", "SSI_2", ("disgust",)),
        ("1001_IEO_HAP_HI", "SSI_1", ("neutral",)),
        ("1002_ITH_NEU_XX", "SSI_3", ("sad",)),
    ]
    assert corpus.simulated is False
    assert corpus.card["left_out"] == [
        ["finishedResponses.csv:10", "respEmo 'Q' is none of A, D, F, H, N, S"],
        ["1091_ITH_NEU_XX", "annotated, but there is no recording"],
        ["1003_TSI_SAD_XX", "nobody annotated it"],
    ]
    assert corpus.card["counts"]["left_out"] == 3
    assert corpus.card["dropped"] == {"repeated annotations": 1}


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_clips_of_any_suffix_are_listed(suffix: str, tmp_path: Path):
    listing = read_cremad(write_cremad(tmp_path, suffix), listeners="intended")
    assert [(row.utterance_id, row.speaker, row.text) for row in listing.utterances] == [
        ("1001_DFA_ANG_XX", "1001", "Don't forget a jacket."),
        ("1001_IEO_HAP_HI", "1001", "It's eleven o'clock."),
        ("1002_ITH_NEU_XX", "1002", "I think I have a doctor's appointment."),
        ("1003_TSI_SAD_XX", "1003", "The surface is slick."),
    ]
    assert [annotation.emotions[0] for annotation in listing.annotations] == [
        "angry",
        "happy",
        "neutral",
        "sad",
    ]
    assert {annotation.listener for annotation in listing.annotations} == {"intended"}
    assert listing.simulated is False


def test_each_voice_only_vote_is_an_answer_of_an_unknown_listener(tmp_path: Path):
    listing = read_cremad(write_cremad(tmp_path), listeners="votes")
    heard = Counter((row.utterance_id, *row.emotions) for row in listing.annotations)
    assert heard == {
        (clip, emotion): votes
        for clip, counts in VOTES.items()
        for emotion, votes in zip(EMOTIONS, counts, strict=True)
        if votes
    }
    assert all(is_unknown_listener(row.listener) for row in listing.annotations)
    assert len({(row.utterance_id, row.listener) for row in listing.annotations}) == len(listing.annotations)
    assert not listing.simulated


def test_adding_simulated_listeners_does_not_change_the_first(tmp_path: Path):
    write_cremad(tmp_path)
    few = read_cremad(tmp_path, "simulated:3", seed=5).annotations
    more = read_cremad(tmp_path, "simulated:7", seed=5).annotations
    assert more[: len(few)] == few
    assert Counter(annotation.listener for annotation in more).most_common()[-1][1] == len(VOTES)
    assert len({annotation.listener for annotation in more}) == 7
    assert read_cremad(tmp_path, "simulated:3", seed=6).annotations != few


def test_simulated_listeners_follow_the_voice_only_votes(tmp_path: Path):
    """Only the voice-only rows prefer an emotion here; the rows with the face are uniform."""
    write_cremad(tmp_path)
    listing = read_cremad(tmp_path, "simulated:200")
    given = Counter(
        (annotation.utterance_id, word) for annotation in listing.annotations for word in annotation.emotions
    )
    chance = len(listing.annotations) / len(VOTES) / len(EMOTIONS)
    for clip, votes in VOTES.items():
        assert given[clip, EMOTIONS[votes.index(max(votes))]] > 1.5 * chance
    assert listing.simulated is True
    assert "simulated" in listing.notes[0]


def test_strong_listeners_are_named_so_everywhere(tmp_path: Path):
    root = write_cremad(tmp_path / "in")
    listing = read_cremad(root, "simulated-strong:3:2")
    assert listing.name == "cremad-simulated-strong"
    assert listing.truth.kind == "strong"
    assert all(listener.confusion is not None for listener in listing.truth.listeners.values())
    assert all("strong" in note for note in listing.notes)
    assert Counter(annotation.listener for annotation in listing.annotations) == {
        f"sim-00{i}": 2 for i in range(3)
    }
    realistic = read_cremad(root, "simulated:3:2")
    assert realistic.name == "cremad-simulated"
    assert all("realistic" in note for note in realistic.notes)
    corpus = write_corpus(realistic, tmp_path / "out")
    assert (corpus.name, corpus.card["notes"]) == ("cremad-simulated", realistic.notes)


def test_realistic_listeners_give_one_label_each(tmp_path: Path):
    listing = read_cremad(write_cremad(tmp_path), "simulated:20")
    assert {len(annotation.emotions) for annotation in listing.annotations} == {1}


def test_a_simulated_listener_can_label_some_of_the_clips(tmp_path: Path):
    listing = read_cremad(write_cremad(tmp_path), "simulated:9:2")
    heard = [
        {annotation.utterance_id for annotation in listing.annotations if annotation.listener == f"sim-00{i}"}
        for i in range(9)
    ]
    assert {len(clips) for clips in heard} == {2}
    assert len({frozenset(clips) for clips in heard}) > 1
    with pytest.raises(UserError, match="only 4 have votes"):
        read_cremad(tmp_path, "simulated:9:5")


def test_clips_without_votes_and_votes_without_clips_are_named(tmp_path: Path):
    root = write_cremad(tmp_path / "in")
    (root / "AudioWAV" / "1003_TSI_SAD_XX.wav").rename(root / "AudioWAV" / "1003_TSI_SAD_X.wav")
    write_tone(root / "AudioWAV" / "test.wav")
    corpus = write_corpus(read_cremad(root, "simulated:2"), tmp_path / "out")
    assert corpus.card["left_out"] == [
        ["test.wav", "not a CREMA-D clip's name"],
        ["processedResults/tabulatedVotes.csv:9 (1003_TSI_SAD_XX)", "votes without a clip"],
        ["1003_TSI_SAD_X", "nobody annotated it"],
    ]
    assert len(corpus.utterances) == 3


@pytest.mark.parametrize(
    ("listeners", "message"),
    [
        ("responses", r"finishedResponses.csv .* is not there: give --listeners simulated:N .* or intended"),
        ("simulated:0", "unknown to cremad"),
        ("8", "unknown to cremad: give responses, simulated:N"),
    ],
)
def test_the_error_for_unavailable_listeners_says_what_to_do(listeners: str, message: str, tmp_path: Path):
    with pytest.raises(UserError, match=message):
        read_cremad(write_cremad(tmp_path), listeners)


def test_the_error_for_another_layout_says_what_was_expected(tmp_path: Path):
    with pytest.raises(UserError, match="no audio in AudioWAV/"):
        read_cremad(tmp_path)
    write_tone(tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav")
    with pytest.raises(UserError, match=r"no processedResults/tabulatedVotes.csv"):
        read_cremad(tmp_path, "simulated:2")
    (tmp_path / "finishedResponses.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="has no column 'localid'"):
        read_cremad(tmp_path)
