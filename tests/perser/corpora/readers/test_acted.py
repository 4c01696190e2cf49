from __future__ import annotations

from pathlib import Path

import pytest

from perser.corpora.readers.acted import EMODB_EMOTIONS, RAVDESS_EMOTIONS, read_emodb, read_ravdess
from perser.errors import UserError

from .tones import write_tone


def test_ravdess_speech_is_read_and_songs_are_counted(tmp_path: Path):
    write_tone(tmp_path / "Actor_01" / "03-01-05-02-02-01-01.wav")
    write_tone(tmp_path / "Actor_12" / "03-01-08-01-01-02-12.flac")
    write_tone(tmp_path / "Actor_12" / "03-02-03-01-01-02-12.wav")
    write_tone(tmp_path / "Actor_12" / "readme-03.wav")
    (tmp_path / "Actor_12" / "02-01-03-01-01-02-12.mp4").write_bytes(b"a film")
    listing = read_ravdess(tmp_path)
    assert [(row.speaker, row.audio, row.text) for row in listing.utterances] == [
        ("Actor_01", "Actor_01/03-01-05-02-02-01-01.wav", "Dogs are sitting by the door."),
        ("Actor_12", "Actor_12/03-01-08-01-01-02-12.flac", "Kids are talking by the door."),
    ]
    assert [(annotation.listener, annotation.emotions) for annotation in listing.annotations] == [
        ("intended", ("angry",)),
        ("intended", ("surprise",)),
    ]
    assert listing.dropped == {"song": 1}
    assert [item.what for item in listing.left_out] == ["Actor_12/readme-03.wav"]


def test_ravdess_codes_are_the_published_emotions(tmp_path: Path):
    for code in range(1, 9):
        write_tone(tmp_path / "Actor_01" / f"03-01-0{code}-01-01-01-01.wav")
    emotions = [annotation.emotions[0] for annotation in read_ravdess(tmp_path).annotations]
    assert emotions == ["neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise"]
    assert sorted(emotions) == sorted(RAVDESS_EMOTIONS)


def test_emodb_letters_are_the_published_emotions(tmp_path: Path):
    published = {
        "W": "angry",
        "L": "bored",
        "E": "disgust",
        "A": "fear",
        "F": "happy",
        "T": "sad",
        "N": "neutral",
    }
    for letter in published:
        write_tone(tmp_path / "wav" / f"03a01{letter}a.wav")
    listing = read_emodb(tmp_path)
    found = {annotation.utterance_id[5]: annotation.emotions for annotation in listing.annotations}
    assert found == {letter: (emotion,) for letter, emotion in published.items()}
    assert {row.speaker for row in listing.utterances} == {"03"}
    assert {row.text for row in listing.utterances} == {"Der Lappen liegt auf dem Eisschrank."}
    assert set(listing.emotions) == set(EMODB_EMOTIONS) == set(published.values())


def test_a_file_with_another_name_is_left_out(tmp_path: Path):
    write_tone(tmp_path / "wav" / "03a01Fa.wav")
    write_tone(tmp_path / "wav" / "03a01Xa.wav")
    assert [item.what for item in read_emodb(tmp_path).left_out] == ["wav/03a01Xa.wav"]


@pytest.mark.parametrize(
    ("reader", "expected"), [(read_ravdess, "audio in Actor_01/"), (read_emodb, "audio in wav/")]
)
def test_the_error_for_another_layout_says_what_was_expected(reader, expected: str, tmp_path: Path):
    with pytest.raises(UserError, match=expected):
        reader(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        reader(tmp_path / "nowhere")
