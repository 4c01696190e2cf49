from __future__ import annotations

from array import array
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from perser.errors import UserError
from perser.inference.clips import (
    Failure,
    Waveforms,
    clip_paths,
    clips_in,
    exit_after_failures,
    name_of,
    read_examples,
    waveforms_of,
)
from perser.inference.labeled_clips import check_known_labels, check_open_labels, parse_example
from perser.labels import EmotionSet


def test_files_folders_and_lists_become_clips(tmp_path):
    for name in ("in/b.WAV", "in/deep/a.flac", "in/notes.md", "odd.xyz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "some.txt").write_text("in/b.WAV\n\n missing.wav \n")
    found = clip_paths([tmp_path / "odd.xyz", tmp_path / "in", str(tmp_path / "some.txt")])
    expected = ["odd.xyz", "in/b.WAV", "in/deep/a.flac", "in/b.WAV", "missing.wav"]
    assert [path.relative_to(tmp_path).as_posix() for path in found] == expected


def test_a_folder_or_list_without_clips_is_refused_by_name(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty is a folder without recordings"):
        clip_paths([tmp_path / "empty"])
    with pytest.raises(UserError, match=r"cannot read .*nowhere\.txt"):
        clip_paths([tmp_path / "nowhere.txt"])


def test_examples_are_read_relative_to_their_file(tmp_path):
    file, elsewhere = tmp_path / "table" / "alice.csv", tmp_path / "b.wav"
    (tmp_path / "table" / "in").mkdir(parents=True)
    for clip in (tmp_path / "table" / "in" / "a.wav", elsewhere):
        clip.touch()
    rows = f"\ufeffpath,who,emotions\nin/a.wav,me,Happy; excited\n{elsewhere},me,sad\n"
    file.write_text(rows, encoding="utf-8")
    assert [example.pair for example in read_examples(file)] == [
        (tmp_path / "table" / "in/a.wav", ("happy", "excited")),
        (elsewhere, ("sad",)),
    ]


def test_an_example_that_is_missing_is_named_with_its_line(tmp_path):
    (tmp_path / "hello.wav").touch()
    (tmp_path / "alice.csv").write_text("path,emotions\nhello.wav,sad\nhelo.wav,happy\n")
    with pytest.raises(UserError, match=r"alice\.csv, line 3: .*helo\.wav is missing \(did you mean .*hello"):
        read_examples(tmp_path / "alice.csv")


def test_examples_are_read_from_folders_that_are_called_as_the_emotions(tmp_path):
    names = ("angry/a.wav", "angry/day 1/b.FLAC", "Happy;sad/a.wav", "sad/c.mp3")
    for name in (*names, "sad/.hidden.wav", "sad/notes.txt", "readme.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [example.pair for example in read_examples(tmp_path)] == [
        (tmp_path / "Happy;sad/a.wav", ("happy", "sad")),
        (tmp_path / "angry/a.wav", ("angry",)),
        (tmp_path / "angry/day 1/b.FLAC", ("angry",)),
        (tmp_path / "sad/c.mp3", ("sad",)),
    ]


def test_a_folder_of_examples_that_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(UserError, match="is a folder without recordings: put them into folders of emotions"):
        read_examples(tmp_path)
    (tmp_path / "angry").mkdir()
    (tmp_path / "sad").mkdir()
    (tmp_path / "angry/a.wav").write_text("a")
    (tmp_path / "sad/b.wav").symlink_to(tmp_path / "angry/a.wav")
    with pytest.raises(UserError, match="is labeled twice, as angry and as sad"):
        read_examples(tmp_path)
    (tmp_path / "c.wav").write_text("c")
    with pytest.raises(UserError, match=r"c\.wav is in no folder of an emotion: put it in one"):
        read_examples(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,emotions\na,sad\n", "no column path"),
        ("", "has no rows"),
        ("path,emotions\na.wav,sad\nb.wav,\n", "line 3"),
        ("path,emotions\na.wav\n", "line 2"),
        (",emotions\n", "no column path"),
    ],
)
def test_bad_lines_of_examples_are_named(text, message, tmp_path):
    (tmp_path / "alice.csv").write_text(text)
    with pytest.raises(UserError, match=rf"alice\.csv.*{message}"):
        read_examples(tmp_path / "alice.csv")


def test_a_labeled_clip_is_parsed_from_an_argument():
    assert parse_example("a=b.wav=Happy,excited").pair == (Path("a=b.wav"), ("happy", "excited"))
    assert parse_example("a.wav = Happy, excited").pair == (Path("a.wav"), ("happy", "excited"))
    for wrong in ("a.wav", "a.wav=", "=sad", "a.wav=,"):
        with pytest.raises(UserError, match="is not of the form"):
            parse_example(wrong)


def test_several_clips_stay_as_they_are_and_a_single_one_gets_a_list():
    samples = np.linspace(-1, 1, 4000)
    for several in ([samples], np.stack([samples, samples]), ["a.wav", b"content"], np.array(["a", "b"]), []):
        assert clips_in(several) is several
    decoder = SimpleNamespace(get_samples_played_in_range=None)
    for single in (
        *(samples, torch.from_numpy(samples), samples.tolist(), array("h", [1, 2]), (samples, 8000)),
        *("a.wav", Path("a.wav"), b"content", BytesIO(), {"path": "a.wav"}, decoder, None, 3),
    ):
        (found,) = clips_in(single)
        assert found is single


def test_an_unusable_clip_is_named():
    tone = np.sin(np.arange(3200))
    assert [len(waveform) for waveform in waveforms_of([tone, (tone[::2], 8000)])] == [3200, 3200]
    with pytest.raises(UserError, match=r"^cannot use clip 2: silent$"):
        waveforms_of([tone, 0 * tone])
    with pytest.raises(UserError, match=r"^cannot use gone\.wav: missing$"):
        waveforms_of("gone.wav")


def test_clips_have_names_and_lengths():
    named = [name_of(clip, 2) for clip in ("x/a.wav", Path("a.wav"), np.zeros(3), {"path": "a.wav"})]
    assert named == ["x/a.wav", "a.wav", "clip 2", "clip 2"]
    clips = Waveforms({"a": torch.zeros(8000)})
    assert (clips.utterance_ids, clips.duration("a")) == (["a"], 0.5)


def test_a_missing_clip_gets_the_nearest_name_and_a_folder_is_called_one(tmp_path, capsys):
    (tmp_path / "hello.wav").touch()
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(UserError, match=r"helo.wav: missing \(did you mean .*hello.wav\?\)"):
        waveforms_of(tmp_path / "helo.wav")
    with pytest.raises(UserError, match=r"folder.wav: a folder, not a recording$"):
        waveforms_of(tmp_path / "folder.wav")
    exit_after_failures([])
    with pytest.raises(SystemExit) as ended:
        exit_after_failures([Failure(str(tmp_path / "helo.wav"), "missing"), Failure("clip 2", "silent")])
    first, second = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1
    assert first.endswith(f"helo.wav: missing (did you mean {tmp_path / 'hello.wav'}?)")
    assert second == "perser: clip 2: silent"


def test_a_word_that_is_no_emotion_is_named_with_its_line(tmp_path):
    for name in ("a.wav", "b.wav", "in/c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    known = EmotionSet(("happy", "sad"))
    table = tmp_path / "alice.jsonl"
    table.write_text(
        '{"path": "a.wav", "emotions": "Happy"}\n{"path": "b.wav", "emotions": ["sad", "Hapy"]}\n'
    )
    with pytest.raises(UserError, match=r"alice\.jsonl, line 2: unknown emotion 'hapy'.*mean 'happy'\?"):
        check_known_labels(read_examples(table, as_spelled=True), known)
    check_known_labels([parse_example("a.wav=SAD", as_spelled=True)], known)
    with pytest.raises(UserError, match=r"enroll: 'a\.wav=sd': unknown emotion 'sd'.*mean 'sad'\?"):
        check_known_labels([parse_example("a.wav=sd")], known)
    table.write_text('{"path": "a.wav", "emotions": "Happy"}\n{"path": "b.wav", "emotions": "7up"}\n')
    with pytest.raises(UserError, match=r"alice\.jsonl, line 2: '7up' cannot be a label"):
        check_open_labels(read_examples(table, as_spelled=True))
