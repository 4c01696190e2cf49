"""An empty name, as from a variable of the shell that is not set, never stands for the working folder."""

from __future__ import annotations

import pytest

from perser.cli.main import main
from perser.encoders.loading import check_encoder
from perser.errors import UserError
from perser.inference.recognizer import Recognizer


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "", "--model", "model"], "a clip's name is empty"),
        (["predict", "a.wav", " ", "--model", "model"], "a clip's name is empty"),
        (["predict", "a.wav", "--model", ""], "the model's name is empty"),
        (["predict", "a.wav", "--profile", ""], "--profile is empty: give a file or folder"),
        (["predict", "--model", "model", "--enroll", "=angry", "--", "a.wav"], "not of the form"),
        (["suggest", "--model", "model", "--pool", ""], "--pool is empty"),
        (["enroll", "--model", "model", "--examples", "", "--out", "p"], "--examples is empty"),
        (["enroll", "--model", "model", "--examples=", "--out", "p"], "--examples is empty"),
        (["export", "--model", "", "--out", "x"], "the model's name is empty"),
        (["export", "--model", "model", "--out", ""], "--out is empty"),
        (["episodes", "--corpus", "", "--out", "e.json"], "--corpus is empty"),
        (["prepare", "cremad", "--root", "", "--out", "x"], "--root is empty"),
        (["models", ""], "--folder is empty"),
    ],
)
def test_an_empty_name_is_refused(words, message, fake_model, write_clip, tmp_path, monkeypatch, capsys):
    write_clip("a.wav", 0)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_name_of_a_model_is_refused_in_python_too():
    for load in (Recognizer.from_pretrained, check_encoder):
        with pytest.raises(UserError, match="name is empty"):
            load("")
