from __future__ import annotations

from pathlib import Path

import pytest

from perser.corpora.corpus import write_corpus
from perser.corpora.readers.nemo import EMOTIONS, read_nemo
from perser.errors import UserError

from .tones import write_tone

TABLE = (  # the published table has spaces before its speakers' names
    "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
    "WR0_surprised_64.wav\tsurprised\tUcho wykrywa dźwięki.\tucho wykrywa dźwięki\t        WR0\tmale\t23\n"
    'EB0_anger_38.wav\tanger\t"Ród smoka to serial.\tród smoka to serial\t        EB0\tfemale\t27\n'
    "EB0_sadness_1.wav\tsadness\tLubię czytać.\tlubię czytać\t        EB0\tfemale\t27\n"
    "EB0_sadness_1.wav\tsadness\tLubię czytać.\tlubię czytać\t        EB0\tfemale\t27\n"
    "EB0_boredom_1.wav\tboredom\tLubię czytać.\tlubię czytać\t        EB0\tfemale\t27\n"
    "EB0_fear_1.wav\tfear\tLubię czytać.\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "nEMO"
    for number, name in enumerate(("WR0_surprised_64", "EB0_anger_38", "EB0_sadness_1")):
        write_tone(root / "samples" / f"{name}.wav", pitch=200 + 50 * number)
    (root / "data.tsv").write_text(TABLE, encoding="utf-8")
    return root


def test_speakers_texts_and_emotions_are_read_from_the_table(root: Path, tmp_path: Path):
    corpus = write_corpus(read_nemo(root), tmp_path / "out")
    assert [(row.utterance_id, row.speaker, row.text) for row in corpus.utterances.values()] == [
        ("EB0_anger_38", "EB0", '"Ród smoka to serial.'),
        ("EB0_sadness_1", "EB0", "Lubię czytać."),
        ("WR0_surprised_64", "WR0", "Ucho wykrywa dźwięki."),
    ]
    assert [annotation.emotions for annotation in corpus.annotations] == [("angry",), ("sad",), ("surprise",)]
    assert corpus.emotions.names == EMOTIONS
    assert corpus.card["dropped"] == {"repeated annotations": 1}
    assert corpus.card["left_out"] == [
        ["data.tsv:6", "unknown emotion 'boredom'"],
        ["data.tsv:7", "no file_id or speaker_id"],
        ["EB0_sadness_1.wav", "its id EB0_sadness_1 is that of EB0_sadness_1.wav"],
    ]


def test_a_missing_recording_is_named(root: Path, tmp_path: Path):
    (root / "samples" / "EB0_anger_38.wav").unlink()
    corpus = write_corpus(read_nemo(root), tmp_path / "out", allow_skips=True)
    assert ["EB0_anger_38.wav", "missing"] in corpus.card["left_out"]


def test_another_layout_is_refused(root: Path):
    (root / "data.tsv").write_text("file_id\temotion\n")
    with pytest.raises(UserError, match="no column 'raw_text', 'speaker_id'"):
        read_nemo(root)
    (root / "data.tsv").write_bytes(b"file_id\temotion\traw_text\tspeaker_id\n\xff\xff\n")
    with pytest.raises(UserError, match="cannot be read"):
        read_nemo(root)
    (root / "data.tsv").unlink()
    with pytest.raises(UserError, match=r"data.tsv is not there"):
        read_nemo(root)
    with pytest.raises(UserError, match="no samples/ in it"):
        read_nemo(root / "samples")
