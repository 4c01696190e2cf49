from __future__ import annotations

from pathlib import Path

import pytest

from perser.errors import UserError
from perser.inference.clips import clip_paths, parse_example, read_examples


def test_files_folders_and_lists_become_clips(tmp_path):
    for name in ("in/b.WAV", "in/deep/a.flac", "in/notes.md", "odd.xyz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "some.txt").write_text("in/b.WAV\n\n missing.wav \n")
    found = clip_paths([tmp_path / "odd.xyz", tmp_path / "in", str(tmp_path / "some.txt")])
    expected = ["odd.xyz", "in/b.WAV", "in/deep/a.flac", "in/b.WAV", "missing.wav"]
    assert [one.relative_to(tmp_path).as_posix() for one in found] == expected


def test_what_gives_no_clips_is_named(tmp_path):
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
    ("text", "said"),
    [
        ("file,emotions\na,sad\n", "no column path"),
        ("", "no column emotions and path"),
        ("path,emotions\na.wav,sad\nb.wav,\n", "line 3"),
        ("path,emotions\na.wav\n", "line 2"),
        (",emotions\n", "no column path"),
    ],
)
def test_bad_examples_are_named(text, said, tmp_path):
    (tmp_path / "alice.csv").write_text(text)
    with pytest.raises(UserError, match=rf"alice\.csv.*{said}"):
        read_examples(tmp_path / "alice.csv")


def test_an_example_in_a_word():
    assert parse_example("a=b.wav=Happy,excited") == (Path("a=b.wav"), ("happy", "excited"))
    for wrong in ("a.wav", "a.wav=", "=sad", "a.wav=,"):
        with pytest.raises(UserError, match="is not of the form"):
            parse_example(wrong)
