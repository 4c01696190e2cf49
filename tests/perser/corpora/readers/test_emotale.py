from __future__ import annotations

from pathlib import Path

import pytest

from perser.corpora.corpus import write_corpus
from perser.corpora.readers.emotale import EMOTIONS, read_emotale
from perser.errors import UserError

from .tones import write_tone

HEAD = "file,a1_A,a1_V,a1_D,a1_cat,a2_A,a2_V,a2_D,a2_cat,a3_A,a3_V,a3_D,a3_cat,gt_emotion\n"
TABLE = (
    HEAD + "DK_001_A_1.wav,4.0,1.5,4.5,A,4.0,2.5,5.0,A,5.0,1.0,4.5,N,A\n"
    "DK_001_B_2.wav,3.0,3.5,3.0,B,2.0,2.5,1.5,N,2.5,3.0,3.0,S,B\n"
    "EN_001_H_5.wav,4.0,4.5,3.5,H,5.0,5.0,2.5,,4.0,4.0,3.5,X,H\n"
    "EN_009_S_3.wav,3.0,1.5,2.5,S,4.0,2.0,2.5,S,2.0,2.5,1.5,S,S\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "emotale"
    for number, name in enumerate(("DK_001_A_1", "DK_001_B_2", "EN_001_H_5", "EN_001_Q_5")):
        write_tone(root / "audio" / name[:2] / f"{name}.wav", pitch=200 + 50 * number, rate=48_000)
    (root / "annotations.csv").write_text(TABLE)
    return root


def test_three_listeners_label_every_clip(root: Path, tmp_path: Path):
    corpus = write_corpus(read_emotale(root), tmp_path / "out")
    assert [
        (annotation.utterance_id, annotation.listener, annotation.emotions)
        for annotation in corpus.annotations
    ] == [
        ("DK_001_A_1", "a1", ("angry",)),
        ("DK_001_A_1", "a2", ("angry",)),
        ("DK_001_A_1", "a3", ("neutral",)),
        ("DK_001_B_2", "a1", ("bored",)),
        ("DK_001_B_2", "a2", ("neutral",)),
        ("DK_001_B_2", "a3", ("sad",)),
        ("EN_001_H_5", "a1", ("happy",)),
    ]
    assert corpus.emotions.names == EMOTIONS
    assert corpus.card["left_out"] == [
        ["audio/EN/EN_001_Q_5.wav", "not an EmoTale clip's name"],
        ["annotations.csv:4, a2_cat", "'' is none of A, B, H, N, S"],
        ["annotations.csv:4, a3_cat", "'X' is none of A, B, H, N, S"],
        ["EN_009_S_3", "annotated, but there is no recording"],
    ]
    assert [(row.speaker, row.session, row.text) for row in corpus.utterances.values()] == [
        ("001", "DK", "Dugen ligger på køleskabet."),
        ("001", "DK", "Det sorte ark papir er placeret deroppe ved siden af tømmerstykket."),
        ("001", "EN", "In seven hours it will be morning."),
    ]


def test_the_acted_emotion_is_the_label_of_the_listener_intended(root: Path):
    listing = read_emotale(root, listeners="intended")
    assert [
        (annotation.utterance_id, annotation.listener, annotation.emotions)
        for annotation in listing.annotations
    ] == [
        ("DK_001_A_1", "intended", ("angry",)),
        ("DK_001_B_2", "intended", ("bored",)),
        ("EN_001_H_5", "intended", ("happy",)),
        ("EN_009_S_3", "intended", ("sad",)),
    ]


def test_a_wrong_folder_or_option_is_refused(root: Path, tmp_path: Path):
    with pytest.raises(UserError, match="--listeners 3 is unknown to emotale"):
        read_emotale(root, listeners="3")
    (root / "annotations.csv").write_text("file,gt_emotion\n")
    with pytest.raises(UserError, match="no column a1_cat"):
        read_emotale(root)
    with pytest.raises(UserError, match=r"no annotations.csv in it"):
        read_emotale(root / "audio")
    (tmp_path / "annotations.csv").write_text(TABLE)
    (root / "audio").rename(tmp_path.parent / f"{tmp_path.name}-audio")
    with pytest.raises(UserError, match=r"no recordings such as DK_004_A_5.wav in it"):
        read_emotale(root)
