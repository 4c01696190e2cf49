"""`perser enroll` and `perser predict` from the command line."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from perser.cli.main import main
from perser.inference.recognizer import Recognizer


@pytest.fixture
def clips(fake_model, write_clip, tmp_path, monkeypatch) -> dict[str, str]:
    """A clip for each emotion, by the emotion, in the working folder."""
    monkeypatch.chdir(tmp_path)
    names = {"angry": "angry.wav", "happy": "in/happy.wav", "sad": "in/sad.wav"}
    for place, name in enumerate(names.values()):
        write_clip(name, place)
    return names


def test_a_profile_and_enrolling_at_once_give_the_same_answers(clips, capsys):
    Path("alice.csv").write_text("path,emotions\nangry.wav,angry\nin/happy.wav,angry;happy\n")
    main(["enroll", "--model", "model", "--examples", "alice.csv", "--out", "alice.profile"])
    assert "2 enrolled" in capsys.readouterr().out
    main(["predict", "--profile", "alice.profile", "in", "--json"])
    with_profile = capsys.readouterr().out
    main(
        [
            "predict",
            "--model",
            "model",
            "--json",
            "--enroll",
            "angry.wav=angry",
            "in/happy.wav=angry,happy",
            "--",
            "in",
        ]
    )
    assert capsys.readouterr().out == with_profile
    answers = json.loads(with_profile)
    assert [answer["path"] for answer in answers] == ["in/happy.wav", "in/sad.wav"]
    expected = Recognizer.from_pretrained("model").enroll(
        [("angry.wav", "angry"), ("in/happy.wav", ("angry", "happy"))]
    )
    predictions = expected.predict(["in/happy.wav", "in/sad.wav"])
    for answer, prediction in zip(answers, predictions, strict=True):
        assert answer["probabilities"] == prediction.probabilities
        assert tuple(answer["labels"]) == prediction.labels
        assert answer["unadapted"]["probabilities"] == prediction.unadapted.probabilities


def test_the_command_that_enroll_suggests_can_be_pasted(clips, capsys):
    Path("my alice.csv").write_text("path,emotions\nangry.wav,angry\n")
    main(["enroll", "--model", "model", "--examples", "my alice.csv", "--out", "my alice's.profile"])
    (command,) = re.findall("`(perser .*) CLIP`", capsys.readouterr().out)
    main([*shlex.split(command)[1:], "angry.wav", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["path"] == "angry.wav"


def test_a_profile_learns_more_in_place_or_into_another_file(clips, capsys):
    Path("alice.csv").write_text("path,emotions\nangry.wav,angry\n")
    Path("more.csv").write_text("path,emotions\nin/sad.wav,sad\n")
    options = ["--examples", "alice.csv", "--out", "alice.profile", "--keep_audio", "true"]
    main(["enroll", "--model", "model", *options])
    before = Path("alice.profile").read_bytes()
    main(["enroll", "--profile", "alice.profile", "--examples", "more.csv", "--out", "both.profile"])
    assert Path("alice.profile").read_bytes() == before
    main(["enroll", "--profile", "alice.profile", "--examples", "more.csv"])
    assert "alice.profile: 2 enrolled" in capsys.readouterr().out
    assert Path("alice.profile").stat().st_size == Path("both.profile").stat().st_size > len(before)
    with pytest.raises(SystemExit):
        main(["enroll", "--profile", "alice.profile", "--examples", "more.csv"])
    assert "in/sad.wav is enrolled already" in capsys.readouterr().err


def test_csv_has_a_row_for_each_clip(clips, capsys):
    main(["predict", "angry.wav", "in/sad.wav", "--model", "model", "--csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["path"], row["labels"]) for row in rows] == [("angry.wav", "angry"), ("in/sad.wav", "sad")]
    assert sum(float(rows[0][emotion]) for emotion in clips) == pytest.approx(1, abs=1e-5)
    assert rows[0]["unadapted_labels"] == rows[0]["unadapted_sad"] == ""
    main(["predict", "--model", "model", "--csv", "--enroll", "in/sad.wav=sad", "--", "angry.wav"])
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert float(row["unadapted_angry"]) == pytest.approx(float(rows[0]["angry"]))
    assert float(row["sad"]) > float(row["unadapted_sad"])


def test_the_table_has_every_emotion_and_the_unadapted_answer(clips, capsys):
    main(["predict", "--model", "model", "--enroll", "in/sad.wav=sad", "--", "angry.wav"])
    shown = capsys.readouterr().out
    heading, first, second = [line for line in shown.splitlines() if line.strip()]
    assert heading.split() == ["clip", "labels", "sure", "angry", "happy", "sad"]
    assert first.split()[0] == "angry.wav"
    assert second.split()[:2] == ["without", "enrollment"]


def test_bad_files_in_a_folder_are_named_and_the_others_answered(clips, capsys, tmp_path):
    (tmp_path / "in" / "bad.wav").write_text("no sound")
    with pytest.raises(SystemExit) as caught:
        main(["predict", "--model", "model", "in", "missing.wav", "--json"])
    assert caught.value.code == 1
    out, error = capsys.readouterr()
    assert [answer["path"] for answer in json.loads(out)] == ["in/happy.wav", "in/sad.wav"]
    assert "perser: in/bad.wav: unreadable" in error
    assert "perser: missing.wav: missing" in error


def test_many_clips_show_a_progress_bar_on_a_terminal(clips, capsys, monkeypatch):
    Path("many.txt").write_text("angry.wav\n" * 40)
    main(["predict", "--model", "model", "many.txt", "--csv"])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    main(["predict", "--model", "model", "many.txt", "--csv"])
    out, error = capsys.readouterr()
    assert "40/40" in error
    assert len(out.splitlines()) == 41


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("predict --model model", "clips: none given"),
        ("predict --model model --enroll b.wav=sad a.wav", "as in `--enroll b.wav=sad -- a.wav`"),
        ("predict --model model --enroll a.wav in", "as in `--enroll CLIP=EMOTION -- a.wav in`"),
        ("predict --model model --enroll b.wav=sad", "behind -- if --enroll is used"),
        ("predict a.wav", "give --profile FILE"),
        (
            "predict a.wav --model model --json maybe",
            "--json: 'maybe' is neither true nor false, and no file",
        ),
        ("predict --csv ture a.wav --model model", "--csv: 'ture' is neither true nor false, and no file"),
        ("predict a.wav --profile p --enroll b.wav=sad", "not both"),
        ("predict a.wav --model model --json --csv", "not both"),
        ("predict a.wav --profile p", "no profile p"),
        ("predict --model model --enroll b.wav -- a.wav", "not of the form"),
        ("predict --model model --enroll b.wav=sad -- a.wav", "cannot enroll b.wav: missing"),
        ("enroll --model model --examples none.csv --out p", "cannot read none.csv"),
        ("enroll --examples none.csv --out p", "give --model, what to personalize, or --profile"),
        ("enroll --model model --examples none.csv", "give --out, the profile to write"),
    ],
)
def test_bad_input_is_one_line(line, message, clips, capsys):
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
