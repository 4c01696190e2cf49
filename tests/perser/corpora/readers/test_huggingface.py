from __future__ import annotations

import io
from pathlib import Path

import datasets
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, List, Value

from perser.corpora.corpus import Corpus, write_corpus
from perser.corpora.huggingface_options import HuggingFaceDataset
from perser.corpora.readers.huggingface import read_huggingface
from perser.errors import UserError

from .tones import tone, write_tone

TEXT = Value("string")


def encoded(pitch: float, suffix: str = "wav") -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, tone(pitch), 16_000, format=suffix.upper())
    return stream.getvalue()


def made(rows: list[dict], **features: object) -> Dataset:
    """With audio of these bytes and paths; encoding it by `Audio` itself would need FFmpeg."""
    kinds = Features({"audio": {"bytes": Value("binary"), "path": TEXT}, **features})
    columns = {name: [row[name] for row in rows] for name in kinds}
    return Dataset.from_dict(columns, features=kinds).cast_column("audio", Audio())


def save(folder: Path, rows: list[dict], **features: object) -> str:
    made(rows, **features).save_to_disk(folder)
    return str(folder)


def prepared(tmp_path: Path, dataset: HuggingFaceDataset, emotions: str | None = None) -> Corpus:
    return write_corpus(read_huggingface(tmp_path / "audio", dataset, emotions), tmp_path / "out")


def labels_of(corpus: Corpus) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.utterance_id, one.listener, one.emotions) for one in corpus.annotations]


def test_class_labels_and_bytes(tmp_path: Path):
    """Recordings that are only in the tables become files, byte for byte."""
    names = ["Neutral", "Angry", "Very Sad"]
    content = [encoded(200), encoded(300, "flac"), encoded(400)]
    rows = [
        {"audio": {"bytes": content[0], "path": "a.wav"}, "emotion": 1, "who": 7},
        {"audio": {"bytes": content[1], "path": "b.flac"}, "emotion": 2, "who": 8},
        {"audio": {"bytes": content[2], "path": None}, "emotion": 0, "who": None},
        {"audio": {"bytes": content[2], "path": "d.wav"}, "emotion": -1, "who": 8},
    ]
    name = save(tmp_path / "set", rows, emotion=ClassLabel(names=names), who=Value("int64"))
    corpus = prepared(tmp_path, HuggingFaceDataset(name, speaker="who"))
    assert corpus.emotions.names == ("neutral", "angry", "very sad")
    assert labels_of(corpus) == [
        ("000002", "intended", ("neutral",)),
        ("a.wav", "intended", ("angry",)),
        ("b.flac", "intended", ("very sad",)),
    ]
    assert {one: row.speaker for one, row in corpus.utterances.items()} == {
        "000002": "unknown",
        "a.wav": "7",
        "b.flac": "8",
    }
    written = [corpus.recordings.path(one) for one in ("a.wav", "b.flac", "000002")]
    assert [path.read_bytes() for path in written] == content
    assert [path.suffix for path in written] == [".wav", ".flac", ".wav"]
    assert corpus.card["left_out"] == [["row 3", "no emotion"], ["d.wav", "nobody annotated it"]]


def test_several_listeners_have_a_row_each(tmp_path: Path):
    """Lists of words, one recording in two rows, and every further column."""
    one = {"audio": {"bytes": encoded(200), "path": "a.wav"}, "text": "Hello.", "day": "2"}
    rows = [
        one | {"heard": ["happy", "Excited"], "by": "w1"},
        one | {"heard": ["sad"], "by": "w2"},
        one | {"heard": ["sad"], "by": None},
        one | {"heard": [], "by": "w3"},
        one | {"heard": ["happy"], "by": "w1"},
    ]
    name = save(tmp_path / "set", rows, heard=List(TEXT), by=TEXT, text=TEXT, day=TEXT)
    chosen = HuggingFaceDataset(name, emotions="heard", listener="by", text="text", session="day")
    corpus = prepared(tmp_path, chosen)
    assert labels_of(corpus) == [("a.wav", "w1", ("happy", "excited")), ("a.wav", "w2", ("sad",))]
    [utterance] = corpus.utterances.values()
    assert (utterance.text, utterance.session, utterance.speaker) == ("Hello.", "2", "unknown")
    assert len(list((tmp_path / "audio").iterdir())) == 1
    assert corpus.card["left_out"] == [["row 2", "no listener"], ["row 3", "no emotion"]]
    assert corpus.card["dropped"] == {"repeated annotations": 1}
    assert (corpus.name, corpus.card["source"]) == ("set", "set")
    assert corpus.card["notes"] == ["no column of speakers was named: the person can only be the listener"]


def test_lists_of_class_labels_and_a_set_that_leaves_some_out(tmp_path: Path):
    kind = List(ClassLabel(names=["other", "sad", "happy"]))
    rows = [
        {"audio": {"bytes": encoded(200 + 50 * number), "path": None}, "emotion": labels}
        for number, labels in enumerate([[1, 0], [2], [0]])
    ]
    name = save(tmp_path / "set", rows, emotion=kind)
    corpus = prepared(tmp_path, HuggingFaceDataset(name), emotions="happy;sad")
    assert corpus.emotions.names == ("happy", "sad")
    assert [one.emotions for one in corpus.annotations] == [("sad",), ("happy",)]
    assert corpus.card["dropped"] == {"labels of other": 2}
    with pytest.raises(UserError, match="nothing is labeled 'hapy', only other, sad, happy"):
        read_huggingface(tmp_path / "again", HuggingFaceDataset(name), emotions="hapy;sad")


def test_files_stay_where_they_are(tmp_path: Path):
    """A column of paths; labels in one cell; the split of a saved DatasetDict."""
    for number in range(2):
        write_tone(tmp_path / "set" / "clips" / f"{number}.wav", pitch=200 + 50 * number)
    table = Dataset.from_dict({"file": ["clips/0.wav", "clips/1.wav"], "label": ["sad; happy", "sad"]})
    DatasetDict({"dev": table}).save_to_disk(tmp_path / "set")
    chosen = HuggingFaceDataset(str(tmp_path / "set"), split="dev", audio="file", emotions="label")
    corpus = prepared(tmp_path, chosen)
    assert labels_of(corpus) == [
        ("clips/0.wav", "intended", ("sad", "happy")),
        ("clips/1.wav", "intended", ("sad",)),
    ]
    assert corpus.recordings.path("clips/1.wav") == tmp_path / "set" / "clips" / "1.wav"
    assert not (tmp_path / "audio").exists()


def test_a_folder_of_data_files_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Parquet, as most datasets on the Hub are; the recordings' tables may hold no path at all."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [
        {"audio": {"bytes": encoded(200 + 50 * number), "path": None}, "label": number} for number in range(2)
    ]
    table = made(rows, label=ClassLabel(names=["sad", "happy"]))
    (tmp_path / "set" / "data").mkdir(parents=True)
    table.to_parquet(tmp_path / "set" / "data" / "test-00000-of-00001.parquet")
    chosen = HuggingFaceDataset(str(tmp_path / "set"), split="test", emotions="label")
    corpus = prepared(tmp_path, chosen)
    assert labels_of(corpus) == [("000000", "intended", ("sad",)), ("000001", "intended", ("happy",))]
    with pytest.raises(UserError, match="split train: Unknown split"):
        read_huggingface(tmp_path / "audio", HuggingFaceDataset(chosen.name, emotions="label"))


def test_one_name_for_two_recordings_needs_a_column_of_ids(tmp_path: Path):
    rows = [
        {"audio": {"bytes": encoded(200 + 50 * number), "path": "1.wav"}, "emotion": emotion, "key": number}
        for number, emotion in enumerate(("sad", "happy"))
    ]
    name = save(tmp_path / "set", rows, emotion=TEXT, key=Value("int64"))
    with pytest.raises(UserError, match=r"rows 0 and 1: 1.wav differs in audio.* --dataset.id"):
        read_huggingface(tmp_path / "audio", HuggingFaceDataset(name))
    corpus = prepared(tmp_path, HuggingFaceDataset(name, id="key"))
    assert list(corpus.utterances) == ["0", "1"]


def test_what_cannot_be_read_is_one_line(tmp_path: Path):
    rows = [{"audio": {"bytes": encoded(200), "path": "a.wav"}, "emotion": "sad", "valence": 0.5}]
    name = save(tmp_path / "set", rows, emotion=TEXT, valence=Value("float32"))
    for chosen, message in (
        (HuggingFaceDataset(), "huggingface needs --dataset.name"),
        (HuggingFaceDataset(name, listener="rater"), "no column 'rater': give --dataset.listener as one of"),
        (HuggingFaceDataset(name, emotions="valence"), "neither words nor class labels"),
        (HuggingFaceDataset(str(tmp_path / "nowhere")), "nowhere, split train: "),
    ):
        with pytest.raises(UserError, match=message) as caught:
            read_huggingface(tmp_path / "audio", chosen)
        assert "\n" not in str(caught.value)
