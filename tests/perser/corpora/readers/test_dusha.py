from __future__ import annotations

from pathlib import Path

import pytest

from perser.corpora.corpus import write_corpus
from perser.corpora.readers.dusha import EMOTIONS, read_dusha
from perser.errors import UserError

from .tones import write_tone

COLUMNS = (
    "hash_id",
    "audio_path",
    "duration",
    "annotator_emo",
    "golden_emo",
    "annotator_id",
    "speaker_text",
    "speaker_emo",
    "source_id",
)
TRAIN = [  # clip, emotion heard, annotator, text, emotion asked for, speaker
    ("a1", "angry", "w1", 'включи "Ёлки"', "angry", "s1"),
    ("a1", "neutral", "w2", 'включи "Ёлки"', "angry", "s1"),
    ("a1", "sad", "w1", 'включи "Ёлки"', "angry", "s1"),
    ("b2", "positive", "w2", "спасибо", "positive", "s2"),
    ("b2", "other", "w1", "спасибо", "positive", "s2"),
    ("b2", "happy", "w3", "спасибо", "positive", "s2"),
    ("b2", "sad", "", "спасибо", "positive", "s2"),
    ("", "sad", "w1", "", "", ""),
]
TEST = [("c3", "sad", "w3", "нет", "sad", "")]


def write_part(folder: Path, rows: list[tuple[str, ...]], wavs: bool = True) -> None:
    folder.mkdir(parents=True)
    lines = ["\t".join(COLUMNS)]
    for clip, heard, annotator, text, asked, speaker in rows:
        path = f"wavs/{clip}.wav" if clip else ""
        lines.append("\t".join((clip, path, "0.2", heard, "", annotator, text, asked, speaker)))
        if clip and wavs:
            write_tone(folder / path, pitch=200 + 50 * ord(clip[0]) % 400)
    (folder / f"raw_{folder.name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(params=["together", "apart"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A corpus with the archives in one folder, or each in its own folder."""
    root = tmp_path / "dusha"
    crowd, podcast = ("crowd", "podcast") if request.param == "apart" else ("", "")
    write_part(root / crowd / "crowd_train", TRAIN)
    write_part(root / crowd / "crowd_test", TEST)
    write_part(root / podcast / "podcast_test", TEST, wavs=False)
    return root


def test_labels_are_those_of_each_annotator(root: Path, tmp_path: Path):
    corpus = write_corpus(read_dusha(root), tmp_path / "out")
    assert [
        (annotation.utterance_id, annotation.listener, annotation.emotions)
        for annotation in corpus.annotations
    ] == [
        ("a1", "w1", ("angry",)),
        ("a1", "w2", ("neutral",)),
        ("b2", "w2", ("positive",)),
        ("c3", "w3", ("sad",)),
    ]
    assert corpus.emotions.names == EMOTIONS
    assert corpus.card["dropped"] == {"responses of other": 1, "repeated annotations": 1}
    assert corpus.card["left_out"] == [
        ["podcast_test", "no wavs/ in it: are its recordings published?"],
        ["raw_crowd_train.tsv:7", "unknown emotion 'happy'"],
        ["raw_crowd_train.tsv:8", "a response without annotator_id"],
        ["raw_crowd_train.tsv:9", "no hash_id, or no audio_path inside the corpus"],
    ]
    assert [(row.speaker, row.session, row.text) for row in corpus.utterances.values()] == [
        ("s1", "crowd_train", 'включи "Ёлки"'),
        ("s2", "crowd_train", "спасибо"),
        ("unknown", "crowd_test", "нет"),
    ]


def test_the_intended_emotion_is_one_label_per_clip(root: Path):
    listing = read_dusha(root, listeners="intended")
    assert [
        (annotation.utterance_id, annotation.listener, annotation.emotions)
        for annotation in listing.annotations
    ] == [
        ("a1", "intended", ("angry",)),
        ("b2", "intended", ("positive",)),
        ("c3", "intended", ("sad",)),
    ]


def test_a_missing_recording_is_named(root: Path, tmp_path: Path):
    [path] = root.glob("**/b2.wav")
    path.unlink()
    corpus = write_corpus(read_dusha(root), tmp_path / "out", allow_skips=True)
    assert [path.relative_to(root).as_posix(), "missing"] in corpus.card["left_out"]


def test_a_wrong_folder_or_option_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"no crowd_train/raw_crowd_train.tsv in it"):
        read_dusha(tmp_path)
    with pytest.raises(UserError, match="--listeners 3 is unknown to dusha"):
        read_dusha(tmp_path, listeners="3")
    write_part(tmp_path / "podcast_train", TEST, wavs=False)
    with pytest.raises(UserError, match="no wavs/ beside"):
        read_dusha(tmp_path)
