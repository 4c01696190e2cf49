from __future__ import annotations

from pathlib import Path

import pytest

from perser.corpora.corpus import write_corpus
from perser.corpora.readers.msp_podcast import EMOTIONS, read_msp_podcast
from perser.errors import UserError

from .tones import write_tone

CLIPS = ("MSP-PODCAST_0001_0008", "MSP-PODCAST_0001_0019", "MSP-PODCAST_0002_0033", "MSP-PODCAST_0003_0001")
CONSENSUS = """FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
MSP-PODCAST_0001_0008.wav,H,4.8,5.2,4.6,127,Female,Train
MSP-PODCAST_0001_0019.wav,X,3.2,3.8,4.0,Unknown,Unknown,Development
MSP-PODCAST_0002_0033.wav,N,4.0,4.0,4.0,38,Male,Test1
MSP-PODCAST_0003_0001.wav,O,4.0,4.0,4.0,38,Male,Test1
"""
COLUMNS = """FileName,{worker},EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom
MSP-PODCAST_0001_0008.wav,WORKER00000017,Happy,"Happy,Amused,Surprise",5,6,4
MSP-PODCAST_0001_0008.wav,WORKER00000021,Neutral,,4,4,4
MSP-PODCAST_0001_0008.wav,WORKER00000017,Angry,Angry,5,6,4
MSP-PODCAST_0001_0019.wav,WORKER00000017,Other-Curious,"Sad,Concerned",3,3,3
MSP-PODCAST_0002_0033.wav,WORKER00000021,Neutral,Neutral,4,4,4
MSP-PODCAST_0003_0001.wav,WORKER00000017,Other-Bored,Frustrated,4,4,4
MSP-PODCAST_0002_0033.wav,,Neutral,Neutral,4,4,4
MSP-PODCAST_0009_0009.wav,WORKER00000017,Sad,Sad,4,4,4
"""
DETAIL = """FileName,EmoDetail
MSP-PODCAST_0001_0008.wav,"WORKER00000017; Happy; Happy,Amused,Surprise; A:5.000; V:6.000; D:4.000;"
MSP-PODCAST_0001_0008.wav,"WORKER00000021; Neutral; A:4.000; V:4.000; D:4.000;"
MSP-PODCAST_0001_0008.wav,"WORKER00000017; Angry; Angry; A:5.000; V:6.000; D:4.000;"
MSP-PODCAST_0001_0019.wav,"WORKER00000017; Other-Curious; Sad,Concerned; A:3.000; V:3.000; D:3.000;"
MSP-PODCAST_0002_0033.wav,"WORKER00000021; Neutral; Neutral; A:4.000; V:4.000; D:4.000;"
MSP-PODCAST_0003_0001.wav,"WORKER00000017; Other-Bored; Frustrated; A:4.000; V:4.000; D:4.000;"
MSP-PODCAST_0002_0033.wav,"; Neutral; Neutral; A:4.000; V:4.000; D:4.000;"
MSP-PODCAST_0009_0009.wav,"WORKER00000017; Sad; Sad; A:4.000; V:4.000; D:4.000;"
"""
FORMS = {
    "2.0": COLUMNS.format(worker="WorkerID"),
    "1.6": COLUMNS.format(worker="Workers"),
    "1.12": DETAIL,
}


def write_msp(root: Path, detailed: str, consensus: str = "labels_consensus.csv") -> Path:
    for number, name in enumerate(CLIPS):
        write_tone(root / "Audios" / f"{name}.wav", pitch=200 + 50 * number)
    (root / "Labels").mkdir()
    (root / "Labels" / consensus).write_text(CONSENSUS)
    (root / "Labels" / "labels_detailed.csv").write_text(detailed)
    (root / "Transcripts").mkdir()
    (root / "Transcripts" / f"{CLIPS[0]}.txt").write_text("What a surprise.\n")
    return root


@pytest.mark.parametrize("release", FORMS)
def test_every_release_gives_the_same_responses(release: str, tmp_path: Path):
    corpus = write_corpus(read_msp_podcast(write_msp(tmp_path / "msp", FORMS[release])), tmp_path / "out")
    assert [
        (annotation.utterance_id, annotation.listener, annotation.emotions)
        for annotation in corpus.annotations
    ] == [
        (CLIPS[0], "WORKER00000017", ("happy", "surprise")),
        (CLIPS[0], "WORKER00000021", ("neutral",)),
        (CLIPS[1], "WORKER00000017", ("sad",)),
        (CLIPS[2], "WORKER00000021", ("neutral",)),
    ]
    assert corpus.emotions.names == EMOTIONS
    assert corpus.card["dropped"] == {
        "emotions outside the eight": 5,
        "responses of other emotions alone": 1,
        "repeated annotations": 1,
    }
    assert corpus.card["left_out"] == [
        ["Labels/labels_detailed.csv:8", "no file, worker or primary emotion"],
        ["MSP-PODCAST_0009_0009", "annotated, but there is no recording"],
        [CLIPS[3], "nobody annotated it"],
    ]


def test_speakers_subsets_and_transcripts_are_read(tmp_path: Path):
    root = write_msp(tmp_path, FORMS["2.0"], consensus="labels_concensus.csv")
    listing = read_msp_podcast(root)
    assert [(row.speaker, row.session, row.text) for row in listing.utterances] == [
        ("127", "Train", "What a surprise."),
        ("unknown", "Development", ""),
        ("38", "Test1", ""),
        ("38", "Test1", ""),
    ]
    [note] = listing.notes
    assert note.startswith("1 utterances are of unidentified speakers")


def test_a_missing_recording_is_named(tmp_path: Path):
    root = write_msp(tmp_path / "msp", FORMS["2.0"])
    (root / "Audios" / f"{CLIPS[2]}.wav").unlink()
    corpus = write_corpus(read_msp_podcast(root), tmp_path / "out", allow_skips=True)
    assert [f"{CLIPS[2]}.wav", "missing"] in corpus.card["left_out"]


def test_another_layout_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no Audios/ in it"):
        read_msp_podcast(tmp_path)
    root = write_msp(tmp_path / "msp", "FileName,Answer\n")
    with pytest.raises(UserError, match="neither EmoDetail nor WorkerID"):
        read_msp_podcast(root)
    (root / "Labels" / "labels_consensus.csv").write_text("FileName,EmoClass\n")
    with pytest.raises(UserError, match="no column 'SpkrID', 'Split_Set'"):
        read_msp_podcast(root)
    (root / "Labels" / "labels_detailed.csv").unlink()
    (root / "Labels" / "labels_consensus.csv").write_text(CONSENSUS)
    with pytest.raises(UserError, match=r"labels_detailed.csv is not there"):
        read_msp_podcast(root)
