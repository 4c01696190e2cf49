"""Instances are read in every form that they are published in, with the toolkit's own audio decoder."""

import json

import numpy as np
import pytest
import soundfile
import torch
from datasets import ClassLabel, Dataset, DatasetDict

from benchmarks.dynamic_superb import instance as module
from benchmarks.dynamic_superb.instance import Instance, read_instance
from perser.audio import BadAudio, load_audio
from perser.corpora.readers.simulated import EMOTIONS
from perser.errors import UserError


def test_an_audio_folder_with_metadata_is_read(emotion, speech):
    instance = read_instance(emotion)
    assert (instance.name, instance.metrics) == ("EmotionRecognition_Simulated", ("accuracy",))
    assert [item.label for item in instance.items] == [clip.emotion for clip in speech]
    assert {item.options for item in instance.items} == {EMOTIONS.names}
    (clip,) = instance.clips(3)
    assert torch.equal(clip, load_audio(speech[3].path))


def test_parquet_files_with_two_recordings_as_bytes_are_read(same_speaker, speech):
    instance = read_instance(same_speaker)
    assert instance.audio == ("audio", "audio2")
    assert {item.label for item in instance.items} == {"yes", "no"}
    first, second = instance.clips(5)
    assert torch.equal(first, load_audio(speech[5].path))
    assert torch.equal(second, load_audio(speech[-3].path))


def test_a_saved_folder_with_paths_is_read(spoken, speech):
    instance = read_instance(spoken, limit=4)
    assert [item.label for item in instance.items] == [clip.text for clip in speech[:4]]
    assert not instance.has_options
    assert torch.equal(instance.clips(2)[0], load_audio(speech[2].path))


def test_metadata_may_name_a_second_recording(emotion, speech, tmp_path):
    (tmp_path / "instance.json").write_text("{}")
    row = {"file_name": str(speech[0].path), "audio2_file_name": "b.wav", "text": "And this?"}
    row |= {"file": "x", "instruction": "Listen. The answer could be 1 or 2.", "label": 1}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    (tmp_path / "b.wav").write_bytes(speech[1].path.read_bytes())
    instance = read_instance(tmp_path)
    assert torch.equal(instance.clips(0)[1], load_audio(speech[1].path))
    (question,) = instance.items
    assert (question.label, question.options) == ("1", ("1", "2"))
    assert question.instruction.endswith("\nAnd this?")
    assert instance.name == tmp_path.name


def test_metadata_is_read_like_every_table_that_people_write(tmp_path, speech):
    (tmp_path / "instance.json").write_text("{}")
    recording = tmp_path / "clips" / "a.wav"
    recording.parent.mkdir()
    recording.write_bytes(speech[0].path.read_bytes())
    rows = ["File_Name;File;Instruction;Label;;", "clips\\a.wav;x;Say it, sadly.;sad;;", ";;;;;"]
    (tmp_path / "metadata.csv").write_text("\n".join(rows), encoding="utf-8-sig")
    instance = read_instance(tmp_path)
    assert [(item.file, item.instruction, item.label) for item in instance.items] == [
        ("x", "Say it, sadly.", "sad")
    ]
    assert torch.equal(instance.clips(0)[0], load_audio(recording))
    (tmp_path / "metadata.csv").write_text("file_name,file,instruction,label\na.wav,x,Say it, sadly.,sad")
    with pytest.raises(UserError, match=r"metadata\.csv, line 2: more cells than the 4 columns"):
        read_instance(tmp_path)


def test_class_labels_become_their_names(tmp_path, speech):
    (tmp_path / "instance.json").write_text("{}")
    content = {
        "audio1": [str(speech[0].path)] * 2,
        "file": ["a", "b"],
        "instruction": ["i"] * 2,
        "label": [1, 0],
    }
    data = Dataset.from_dict(content).cast_column("label", ClassLabel(names=["no", "yes"]))
    data.save_to_disk(tmp_path / "data")
    instance = read_instance(tmp_path)
    assert [item.label for item in instance.items] == ["yes", "no"]
    assert instance.audio == ("audio1",)


def test_data_that_is_not_in_the_folder_comes_from_the_hub(tmp_path, speech, monkeypatch):
    requested = []

    def hub(path, revision):
        requested.append((path, revision))
        row = {"audio": [str(speech[0].path)], "file": ["a"], "instruction": ["i"], "label": ["sad"]}
        return DatasetDict({"test": Dataset.from_dict(row)})

    monkeypatch.setattr(module, "load_dataset", hub)
    (tmp_path / "instance.json").write_text('{"path": "DynamicSuperb/Some", "version": "0123abc"}')
    assert read_instance(tmp_path).items[0].label == "sad"
    assert requested == [("DynamicSuperb/Some", "0123abc")]


def clip_of(stored):
    return Instance("", (), "", (), [{"audio": stored}], ("audio",)).clips(0)[0]


def test_a_recording_may_be_samples_at_another_rate(speech):
    samples, rate = soundfile.read(speech[0].path, dtype="float32")
    halved = clip_of({"array": samples[::2].tolist(), "sampling_rate": rate // 2})
    assert len(halved) == pytest.approx(len(samples), abs=2)
    for wrong in (None, {"bytes": None, "path": None}, {"bytes": b"no sound", "path": "a"}, "gone.wav"):
        with pytest.raises(BadAudio):
            clip_of(wrong)
    for array, reason in ((np.zeros((2, 9)), "silent"), (np.ones((9, 9)), r"shape \(9, 9\)")):
        with pytest.raises(BadAudio, match=reason):
            clip_of({"array": array, "sampling_rate": rate})


def test_a_folder_that_is_no_instance_is_refused_in_one_line(tmp_path):
    def refused(message, about="{}", data=None, metadata=None):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        if about is not None:
            (folder / "instance.json").write_text(about)
        if metadata is not None:
            (folder / "metadata.csv").write_text(metadata)
        if data is not None:
            split = "test" if len(data) < 2 else "train"
            splits = {split: Dataset.from_dict(data), "other": Dataset.from_dict(data)}
            DatasetDict(splits).save_to_disk(folder / "data")
        with pytest.raises(UserError, match=message) as error:
            read_instance(folder)
        assert "\n" not in str(error.value)

    refused("no instance: cannot read .*instance.json", about=None)
    refused("instance.json is no JSON", about='{"name": "a",}')
    refused("metrics as a list", about='{"metrics": "accuracy"}')
    refused("metrics as a list", about="[]")
    refused("no data beside instance.json")
    refused("cannot read the instance's data: .*DynamicSuperb/nothing", '{"path": "DynamicSuperb/nothing"}')
    refused("its data has no column 'audio', only label", data={"label": ["a"]})
    refused("splits train, other, none of them 'test'", data={"label": ["a"], "file": ["a"]})
    refused("the instance has no rows", metadata="file,label\n")


def test_audio_labels_are_refused(tmp_path):
    (tmp_path / "instance.json").write_text("{}")
    row = {"audio": "a.wav", "file": "a", "instruction": "Say it sadly.", "label": {"path": "b.wav"}}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError, match="row 0: its label is no text"):
        read_instance(tmp_path)
