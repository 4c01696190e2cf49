from __future__ import annotations

from pathlib import Path

import pytest

from perser.corpora.corpus import write_corpus
from perser.corpora.readers.esd import EMOTIONS, read_esd
from perser.errors import UserError

from .tones import write_tone

MANDARIN = "0001_000001\t打远一看\t中立\n0001_000351\t打远一看\t生气\n"
ENGLISH = (
    "0011_000001\tThe nine the eggs, I keep.\tNeutral\nbroken line\n0011_001401 \tThe café. \tSurprise\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A corpus with one speaker in split folders, one without, and misplaced files."""
    root = tmp_path / "esd"
    names = (
        "0001/Neutral/train/0001_000001.wav",
        "0001/Angry/evaluation/0001_000351.wav",
        "0011/Neutral/0011_000001.wav",
        "0011/Surprise/0011_001401.wav",
        "0011/Surprise/0012_001401.wav",
        "0011/Fear/0011_001402.wav",
        "0011/Sad/old/0011_001051.wav",
        "0011/0011_001403.wav",
    )
    for number, name in enumerate(names):
        write_tone(root / name, pitch=200 + 50 * number)
    (root / "0001" / "0001.txt").write_bytes(MANDARIN.encode("gb18030"))
    (root / "0011" / "0011.txt").write_bytes(ENGLISH.encode("utf-16"))
    return root


def test_both_layouts_are_read_and_misplaced_files_are_named(root: Path, tmp_path: Path):
    corpus = write_corpus(read_esd(root), tmp_path / "out")
    assert [(row.utterance_id, row.speaker, row.session, row.text) for row in corpus.utterances.values()] == [
        ("0001_000001", "0001", "zh", "打远一看"),
        ("0001_000351", "0001", "zh", "打远一看"),
        ("0011_000001", "0011", "en", "The nine the eggs, I keep."),
        ("0011_001401", "0011", "en", "The café."),
    ]
    assert [(annotation.listener, annotation.emotions) for annotation in corpus.annotations] == [
        ("intended", ("neutral",)),
        ("intended", ("angry",)),
        ("intended", ("neutral",)),
        ("intended", ("surprise",)),
    ]
    assert corpus.emotions.names == EMOTIONS
    assert corpus.card["left_out"] == [
        ["0011/0011_001403.wav", "not in the folder of an emotion"],
        ["0011/Fear/0011_001402.wav", "not in the folder of an emotion"],
        ["0011/Sad/old/0011_001051.wav", "not in the folder of an emotion"],
        ["0011/Surprise/0012_001401.wav", "not the name of a clip of speaker 0011"],
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_english_transcripts_are_read_in_all_their_encodings(root: Path, encoding: str):
    (root / "0011" / "0011.txt").write_bytes(ENGLISH.encode(encoding))
    assert {row.text for row in read_esd(root).utterances if row.session == "en"} == {
        "The nine the eggs, I keep.",
        "The café.",
    }


def test_transcripts_are_optional_and_audio_is_not(root: Path, tmp_path: Path):
    (root / "0011" / "0011.txt").unlink()
    assert {row.text for row in read_esd(root).utterances if row.session == "en"} == {""}
    with pytest.raises(UserError, match="no audio in 0001/Angry/"):
        read_esd(tmp_path)
