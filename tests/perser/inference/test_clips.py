from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from perser.audio import BadAudio
from perser.errors import UserError
from perser.inference.clips import (
    Waveforms,
    clip_paths,
    name_of,
    parse_example,
    read_examples,
    waveform_of,
)


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
    file = tmp_path / "alice.csv"
    file.write_text("\ufeffpath,who,emotions\nin/a.wav,me,Happy; excited\n/b.wav,me,sad\n", encoding="utf-8")
    assert read_examples(file) == [
        (tmp_path / "in/a.wav", ("happy", "excited")),
        (Path("/b.wav"), ("sad",)),
    ]


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
    assert parse_example("a=b.wav=Happy,excited") == (Path("a=b.wav"), ("happy", "excited"))
    for wrong in ("a.wav", "a.wav=", "=sad", "a.wav=,"):
        with pytest.raises(UserError, match="is not of the form"):
            parse_example(wrong)


def test_samples_of_any_kind_become_a_waveform():
    samples = np.linspace(-1, 1, 7)
    for array in (samples, samples.astype(np.float32), torch.from_numpy(samples).requires_grad_()):
        found = waveform_of(array)
        assert found.dtype == torch.float32
        assert not found.requires_grad
        np.testing.assert_allclose(found, samples, rtol=1e-6)


def test_a_file_is_read_at_16_khz(write_clip):
    assert len(waveform_of(str(write_clip("a.wav", 1, 0.2)))) == 3200


@pytest.mark.parametrize(
    ("samples", "reason"),
    [(np.zeros((2, 100)), r"shape \(2, 100\)"), (np.zeros(0), "shape"), (np.full(9, np.nan), "not finite")],
)
def test_samples_that_are_no_waveform_are_refused(samples, reason):
    with pytest.raises(BadAudio, match=reason):
        waveform_of(samples)


def test_clips_have_names_and_lengths():
    assert [name_of("x/a.wav", 1), name_of(np.zeros(3), 2)] == ["x/a.wav", "clip 2"]
    clips = Waveforms({"a": torch.zeros(8000)})
    assert (clips.utterance_ids, clips.duration("a")) == (["a"], 0.5)
