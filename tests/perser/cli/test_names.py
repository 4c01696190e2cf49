"""Names of files in any script, and names that are no text at all, on the command line and in folders."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perser.cli.main import main
from perser.corpora.corpus import Corpus
from perser.errors import UserError
from perser.inference.recognizer import Recognizer

NAMES = (
    "ü.wav",
    "😀.wav",
    "👩‍👩‍👧 🇺🇸.wav",
    "日本.wav",
    "caf\udce9.wav",
    "[1].wav",
    "a: b.wav",
    "null",
    "12",
    "é#'\".wav",
)
"""File names; `\\udce9` is a byte that is not UTF-8, as Python writes it."""


@pytest.fixture
def here(
    fake_model: object, write_clip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working folder with a clip of each name in `clips`."""
    write_clip("a.wav", 1)
    (tmp_path / "clips").mkdir()
    for name in NAMES:
        (tmp_path / "clips" / name).write_bytes((tmp_path / "a.wav").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answered(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    main(["predict", "--model", "model", "--json", *words])
    return [Path(answer["path"]).name for answer in json.loads(capsys.readouterr().out)]


def test_clips_of_any_name_are_answered(here: Path, capsys: pytest.CaptureFixture[str]):
    words = [f"clips/{name}" for name in NAMES]
    assert answered(capsys, "--", *words) == list(NAMES)
    assert answered(capsys, "--clips", *words) == list(NAMES)
    assert set(answered(capsys, "--", "clips")) == {name for name in NAMES if name.endswith(".wav")}
    (here / "list.txt").write_bytes(b"\n".join(map(os.fsencode, words)))
    assert answered(capsys, "--", "list.txt") == list(NAMES)
    (here / "own.yaml").write_text(f"clips: [{', '.join(words[:4])}]", encoding="utf-8")
    assert answered(capsys, "--config", "own.yaml") == list(NAMES[:4])
    (here / "one.yaml").write_text(f"clips: {words[1]}", encoding="utf-8")
    assert answered(capsys, "--config", "one.yaml") == [NAMES[1]]


@pytest.mark.parametrize("name", NAMES)
def test_options_take_any_name(name: str, here: Path, capsys: pytest.CaptureFixture[str]):
    assert answered(capsys, "--enroll", f"clips/{name}=happy", "--", "a.wav") == ["a.wav"]
    Path(f"{name}.csv").write_text("path,emotions\na.wav,happy\n")
    main(["enroll", "--model", "model", "--examples", f"{name}.csv", "--out", "p"])
    main(["suggest", "--model", "model", "--pool", "clips", "--examples", f"{name}.csv", "--json"])


def test_a_folder_whose_name_is_no_text_is_read_and_never_written(
    here: Path, capsys: pytest.CaptureFixture[str]
):
    """Arrow and safetensors cannot open files in it, which must be said before anything is computed."""
    other = here / "d\udce9"
    (here / "clips").rename(other)
    assert len(answered(capsys, str(other))) == len([name for name in NAMES if name.endswith(".wav")])
    rows = ["path,speaker,listener,emotions", "ü.wav,s,me,happy", "😀.wav,s,me,sad"]
    (other / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    main(["prepare", "manifest", "--root", str(other), "--out", "out"])
    assert Corpus.load(Path("out")).recordings.path("ü.wav") == other / "ü.wav"
    (here / "model").rename(other / "model")
    (here / "model").mkdir()
    for line in (
        ["prepare", "manifest", "--root", str(other), "--out", str(other / "out")],
        ["enroll", "--model", "model", "--examples", "none.csv", "--out", str(other / "p")],
        ["predict", "--profile", str(other / "p"), "a.wav"],
        ["predict", "--model", str(other / "model"), "a.wav"],
    ):
        with pytest.raises(SystemExit) as caught:
            main(line)
        assert caught.value.code == 2
        assert "its name is not UTF-8" in capsys.readouterr().err
    assert sorted(path.name for path in other.iterdir()) == sorted([*NAMES, "manifest.csv", "model"])


@pytest.mark.parametrize("option", ["--csv", "--json", "--no"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_no_answer_is_lost_where_the_output_lacks_its_letters(
    option: str, encoding: str, here: Path, monkeypatch: pytest.MonkeyPatch
):
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding=encoding, write_through=True))
    main(["predict", "--model", "model", *([option] if option != "--no" else []), "--", "clips"])
    text = content.getvalue().decode(encoding)
    clips = [name for name in NAMES if name.endswith(".wav")]
    if option == "--csv":
        assert len(list(csv.DictReader(io.StringIO(text)))) == len(clips)
    elif option == "--json":
        assert {Path(answer["path"]).name for answer in json.loads(text)} == set(clips)
    else:
        assert len([line for line in text.splitlines() if line.strip()]) == 1 + len(clips)


def test_a_clip_that_is_labeled_twice_is_refused(here: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["predict", "--model", "model", "--enroll", "a.wav=happy", "./a.wav=sad", "--", "a.wav"])
    assert "a.wav is labeled twice, as happy and as sad" in capsys.readouterr().err
    with pytest.raises(UserError, match="labeled twice"):
        Recognizer.from_pretrained("model").enroll([("a.wav", "happy"), (here / "a.wav", "sad")])
