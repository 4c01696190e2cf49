from __future__ import annotations

import io
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, LargeList, List, Value

from perser.audio import load_audio
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


def make_dataset(rows: list[dict], **features: object) -> Dataset:
    """Make a dataset with audio of these bytes and paths. Encoding by `Audio` itself would need FFmpeg."""
    kinds = Features({"audio": {"bytes": Value("binary"), "path": TEXT}, **features})
    columns = {name: [row[name] for row in rows] for name in kinds}
    return Dataset.from_dict(columns, features=kinds).cast_column("audio", Audio())


def save(folder: Path, rows: list[dict], **features: object) -> str:
    make_dataset(rows, **features).save_to_disk(folder)
    return str(folder)


def prepare(tmp_path: Path, dataset: HuggingFaceDataset, emotions: str | None = None) -> Corpus:
    return write_corpus(read_huggingface(tmp_path / "audio", dataset, emotions), tmp_path / "out")


def labels_of(corpus: Corpus) -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        (annotation.utterance_id, annotation.listener, annotation.emotions)
        for annotation in corpus.annotations
    ]


def test_recordings_in_tables_with_class_labels_are_read(tmp_path: Path):
    """They become files with the same bytes."""
    names = ["Neutral", "Angry", "Very Sad"]
    content = [encoded(200), encoded(300, "flac"), encoded(400)]
    rows = [
        {"audio": {"bytes": content[0], "path": "a.wav"}, "emotion": 1, "who": 7},
        {"audio": {"bytes": content[1], "path": "b.flac"}, "emotion": 2, "who": 8},
        {"audio": {"bytes": content[2], "path": None}, "emotion": 0, "who": None},
        {"audio": {"bytes": content[2], "path": "d.wav"}, "emotion": -1, "who": 8},
    ]
    name = save(tmp_path / "set", rows, emotion=ClassLabel(names=names), who=Value("int64"))
    corpus = prepare(tmp_path, HuggingFaceDataset(name, speaker="who"))
    assert corpus.emotions.names == ("neutral", "angry", "very sad")
    assert labels_of(corpus) == [
        ("000002", "intended", ("neutral",)),
        ("a.wav", "intended", ("angry",)),
        ("b.flac", "intended", ("very sad",)),
    ]
    assert {name: row.speaker for name, row in corpus.utterances.items()} == {
        "000002": "unknown",
        "a.wav": "7",
        "b.flac": "8",
    }
    written = [corpus.recordings.path(name) for name in ("a.wav", "b.flac", "000002")]
    assert [path.read_bytes() for path in written] == content
    assert [path.suffix for path in written] == [".wav", ".flac", ".wav"]
    assert corpus.card["left_out"] == [["row 3", "no emotion"]]


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_samples_in_tables_become_files_at_16_khz(dtype: str, tmp_path: Path):
    samples = tone(200, rate=8_000)
    array = samples if dtype == "float32" else np.round(samples * 32767).astype(dtype)
    rows = [
        {"array": array, "sampling_rate": 8_000, "path": "a.mp3"},
        {"array": 0 * array, "sampling_rate": 8_000, "path": "b.mp3"},
        {"array": array, "sampling_rate": None, "path": "c.mp3"},
    ]
    kinds = {"array": List(Value(dtype)), "sampling_rate": Value("int64"), "path": TEXT}
    table = Dataset.from_dict(
        {"audio": rows, "emotion": ["sad; angry"] * 3}, features=Features({"audio": kinds, "emotion": TEXT})
    )
    table.save_to_disk(tmp_path / "set")
    dataset = HuggingFaceDataset(str(tmp_path / "set"), emotions="emotion")
    corpus = prepare(tmp_path, dataset)
    expected = load_audio({"array": samples, "sampling_rate": 8_000})
    np.testing.assert_allclose(corpus.recordings.waveform("a.mp3"), expected, atol=1e-4)
    reasons = dict(corpus.card["left_out"])
    assert reasons["row 1"] == "silent"
    assert reasons["row 2"].startswith("samples without their rate")


def test_content_in_a_column_of_bytes_is_read(tmp_path: Path):
    kinds = Features({"audio": Value("binary"), "emotion": TEXT})
    Dataset.from_dict({"audio": [encoded(200)], "emotion": ["sad; angry"]}, features=kinds).save_to_disk(
        tmp_path / "set"
    )
    corpus = prepare(tmp_path, HuggingFaceDataset(str(tmp_path / "set"), emotions="emotion"))
    assert corpus.recordings.path("000000").read_bytes() == encoded(200)


def test_each_listener_has_a_row(tmp_path: Path):
    """With lists of words, a recording in several rows, and all optional columns."""
    recording = {"audio": {"bytes": encoded(200), "path": "a.wav"}, "text": "Hello.", "day": "2"}
    rows = [
        recording | {"heard": ["happy", "Excited"], "by": "w1"},
        recording | {"heard": ["sad"], "by": "w2"},
        recording | {"heard": ["sad"], "by": None},
        recording | {"heard": [], "by": "w3"},
        recording | {"heard": ["happy"], "by": "w1"},
    ]
    name = save(tmp_path / "set", rows, heard=List(TEXT), by=TEXT, text=TEXT, day=TEXT)
    chosen = HuggingFaceDataset(name, emotions="heard", listener="by", text="text", session="day")
    corpus = prepare(tmp_path, chosen)
    assert labels_of(corpus) == [("a.wav", "w1", ("happy", "excited")), ("a.wav", "w2", ("sad",))]
    [utterance] = corpus.utterances.values()
    assert (utterance.text, utterance.session, utterance.speaker) == ("Hello.", "2", "unknown")
    assert len(list((tmp_path / "audio").iterdir())) == 1
    assert corpus.card["left_out"] == [["row 2", "no listener"], ["row 3", "no emotion"]]
    assert corpus.card["dropped"] == {"repeated annotations": 1}
    assert (corpus.name, corpus.card["source"]) == ("set", "set")
    assert corpus.card["notes"] == ["no column of speakers was named: the person can only be the listener"]


def test_labels_outside_the_emotion_set_are_dropped(tmp_path: Path):
    kind = List(ClassLabel(names=["other", "sad", "happy"]))
    rows = [
        {"audio": {"bytes": encoded(200 + 50 * number), "path": None}, "emotion": labels}
        for number, labels in enumerate([[1, 0], [2], [0]])
    ]
    name = save(tmp_path / "set", rows, emotion=kind)
    corpus = prepare(tmp_path, HuggingFaceDataset(name), emotions="happy;sad")
    assert corpus.emotions.names == ("happy", "sad")
    assert [annotation.emotions for annotation in corpus.annotations] == [("sad",), ("happy",)]
    assert corpus.card["dropped"] == {"labels of other": 2}
    with pytest.raises(UserError, match="nothing is labeled 'hapy', only other, sad, happy"):
        read_huggingface(tmp_path / "again", HuggingFaceDataset(name), emotions="hapy;sad")


def test_recordings_in_files_are_not_copied(tmp_path: Path):
    """With a column of paths, several labels in one cell, and a split of a saved DatasetDict."""
    for number in range(2):
        write_tone(tmp_path / "set" / "clips" / f"{number}.wav", pitch=200 + 50 * number)
    table = Dataset.from_dict({"file": ["clips/0.wav", "clips/1.wav"], "label": ["sad; happy", "sad"]})
    DatasetDict({"dev": table}).save_to_disk(tmp_path / "set")
    chosen = HuggingFaceDataset(str(tmp_path / "set"), split="dev", audio="file", emotions="label")
    corpus = prepare(tmp_path, chosen)
    assert labels_of(corpus) == [
        ("clips/0.wav", "intended", ("sad", "happy")),
        ("clips/1.wav", "intended", ("sad",)),
    ]
    assert corpus.recordings.path("clips/1.wav") == tmp_path / "set" / "clips" / "1.wav"
    assert not (tmp_path / "audio").exists()


def test_a_folder_of_data_files_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With Parquet files, as most datasets on the Hub have, and recordings without a path."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [
        {"audio": {"bytes": encoded(200 + 50 * number), "path": None}, "label": number} for number in range(2)
    ]
    table = make_dataset(rows, label=ClassLabel(names=["sad", "happy"]))
    (tmp_path / "set" / "data").mkdir(parents=True)
    table.to_parquet(tmp_path / "set" / "data" / "test-00000-of-00001.parquet")
    chosen = HuggingFaceDataset(str(tmp_path / "set"), split="test", emotions="label")
    corpus = prepare(tmp_path, chosen)
    assert labels_of(corpus) == [("000000", "intended", ("sad",)), ("000001", "intended", ("happy",))]
    with pytest.raises(UserError, match="split train: Unknown split"):
        read_huggingface(tmp_path / "audio", HuggingFaceDataset(chosen.name, emotions="label"))


def test_two_recordings_with_one_name_need_a_column_of_ids(tmp_path: Path):
    rows = [
        {"audio": {"bytes": encoded(200 + 50 * number), "path": "1.wav"}, "emotion": emotion, "key": number}
        for number, emotion in enumerate(("sad", "happy"))
    ]
    name = save(tmp_path / "set", rows, emotion=TEXT, key=Value("int64"))
    with pytest.raises(UserError, match=r"rows 0 and 1: 1.wav differs in audio.* --dataset.id"):
        read_huggingface(tmp_path / "audio", HuggingFaceDataset(name))
    corpus = prepare(tmp_path, HuggingFaceDataset(name, id="key"))
    assert list(corpus.utterances) == ["0", "1"]


NULLABLE = ["happy", "sad; very calm", None]
LISTS = [["happy"], ["sad", "very calm"], None]
OF_PANDAS = {
    "objects": (NULLABLE, None),
    "strings": (NULLABLE, "string"),
    "strings in Arrow": (NULLABLE, "string[pyarrow]"),
    "categories": (NULLABLE, "category"),
    "string": (NULLABLE, pa.string()),
    "large_string": (NULLABLE, pa.large_string()),
    "string_view": (NULLABLE, pa.string_view()),
    "dictionary": (NULLABLE, pa.dictionary(pa.int8(), pa.large_string())),
    "lists": (LISTS, None),
    "tuples": ([("happy",), ("sad", "very calm"), None], None),
    "list": (LISTS, pa.list_(pa.large_string())),
    "large_list": (LISTS, pa.large_list(pa.large_string())),
    "large_list of string": (LISTS, pa.large_list(pa.string())),
    "list of dictionary": (LISTS, pa.list_(pa.dictionary(pa.int32(), pa.string()))),
}


@pytest.mark.parametrize("stored", ["save_to_disk", "parquet"])
@pytest.mark.parametrize("kind", OF_PANDAS)
def test_labels_as_pandas_writes_them_are_read(
    kind: str, stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    labels, dtype = OF_PANDAS[kind]
    for number in range(3):
        write_tone(tmp_path / "set" / f"{number}.wav", pitch=200 + 50 * number)
    frame = pd.DataFrame({"audio": [str(tmp_path / "set" / f"{number}.wav") for number in range(3)]})
    frame["emotion"] = pd.Series(
        labels, dtype=pd.ArrowDtype(dtype) if isinstance(dtype, pa.DataType) else dtype
    )
    frame["who"] = pd.Series([7, None, 8])  # a column of whole numbers that lacks one: 7.0
    if stored == "parquet":
        (tmp_path / "set" / "data").mkdir()
        frame.to_parquet(tmp_path / "set" / "data" / "train.parquet")
    else:
        Dataset.from_pandas(frame).save_to_disk(tmp_path / "set")
    corpus = prepare(tmp_path, HuggingFaceDataset(str(tmp_path / "set"), speaker="who"))
    assert labels_of(corpus) == [
        ("0.wav", "intended", ("happy",)),
        ("1.wav", "intended", ("sad", "very calm")),
    ]
    assert [row.speaker for row in corpus.utterances.values()] == ["7", "unknown"]
    assert corpus.card["left_out"][0] == ["row 2", "no emotion"]


@pytest.mark.parametrize("list_of", [List, LargeList])
def test_lists_of_class_labels_are_read(list_of: type, tmp_path: Path):
    rows = [
        {"audio": {"bytes": encoded(200 + 50 * number), "path": None}, "emotion": labels}
        for number, labels in enumerate([[1], [0, 1], [], None])
    ]
    name = save(tmp_path / "set", rows, emotion=list_of(ClassLabel(names=["Sad", "Happy"])))
    corpus = prepare(tmp_path, HuggingFaceDataset(name))
    assert [annotation.emotions for annotation in corpus.annotations] == [("happy",), ("sad", "happy")]


def test_a_column_that_is_no_text_is_refused(tmp_path: Path):
    rows = [{"audio": {"bytes": encoded(200), "path": "a.wav"}, "emotion": "sad", "who": ["a", "b"]}]
    name = save(tmp_path / "set", rows, emotion=TEXT, who=List(TEXT))
    with pytest.raises(UserError, match="the column 'who' holds a list"):
        read_huggingface(tmp_path / "audio", HuggingFaceDataset(name, speaker="who"))


def test_a_wrong_dataset_or_column_is_a_user_error(tmp_path: Path):
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


def test_several_splits_of_a_saved_dataset_are_joined_and_a_missing_one_is_named(tmp_path: Path):
    rows = [
        {"audio": {"bytes": encoded(200 + 9 * n), "path": f"{n}.wav"}, "emotion": n % 2} for n in range(4)
    ]
    table = make_dataset(rows, emotion=ClassLabel(names=["angry", "sad"]))
    name = str(tmp_path / "set")
    DatasetDict({"dev": table.select([0, 1]), "test": table.select([2, 3])}).save_to_disk(name)
    corpus = prepare(tmp_path, HuggingFaceDataset(name, split="dev+test"))
    assert list(corpus.utterances) == ["0.wav", "1.wav", "2.wav", "3.wav"]
    for split in ("train", "dev+train"):
        with pytest.raises(
            UserError, match=r"has no split 'train': give --dataset.split as one of dev, test"
        ):
            read_huggingface(tmp_path / "audio", HuggingFaceDataset(name, split=split))


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        ([[0.1, 0.2], [0.3, 0.1]], "row 0: samples without their rate: give --dataset.audio with both"),
        ([1, 2], "row 0: no recording, but int"),
        (pa.nulls(2), "row 0: no recording"),
        ([{"text": "a"}, {"text": "b"}], "row 0: no recording, but dict"),
    ],
)
def test_a_column_without_recordings_is_refused_with_its_first_row(tmp_path: Path, audio, reason):
    pq.write_table(pa.table({"audio": audio, "emotion": ["sad", "angry"]}), tmp_path / "data.parquet")
    with pytest.raises(UserError, match=f"^nothing of .* can be used, for example {reason}"):
        read_huggingface(tmp_path / "audio", HuggingFaceDataset(str(tmp_path)))
